"""Writing so that a file is either whole or absent, and sealing an artefact: its last file names all others by digest."""

import fcntl
import hashlib
import json
import os
import shutil
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.artefacts import provenance
from pipeline.errors import InputError
from pipeline.study import StageConfig


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` never holds a part of it, even after a power cut."""
    temporary = _write_beside(path, data)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def publish(path: Path, data: bytes) -> bool:
    """Write `data` to `path` unless it exists; say whether it was written. The first writer wins, on a shared disk too."""
    temporary = _write_beside(path, data)
    try:
        os.link(temporary, path)
        return True
    except FileExistsError:
        return False
    finally:
        temporary.unlink()


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=1) + "\n").encode())


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(
    config: StageConfig, root: Path, files: Iterable[Path], facts: dict[str, Any], known: Mapping[str, str] | None = None
) -> None:
    """Complete an artefact: write its last file, with config, digests of `files` and inputs, provenance and `facts`.

    `known` are digests, by name, of files whose content has been digested in another way than by all bytes.
    """
    folder = root / config.folder
    digests = {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(files)} | dict(known or {})
    value = {
        "stage": config.stage,
        "hash": config.hash,
        "digest": digest_of(digests),
        "files": digests,
        "inputs": {named.folder.as_posix(): unseal(named, root)["digest"] for named in config.inputs},
        **facts,
        "config": config.model_dump(mode="json"),
        "provenance": provenance.collect(),
    }
    write_json(folder / config.last_file, value)


def digest_of(files: Mapping[str, str]) -> str:
    """An artefact's digest, of its files' names and digests."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()


def unseal(config: StageConfig, root: Path) -> dict[str, Any]:
    """The last file of a complete artefact.

    Raises:
        InputError: it does not exist, or it was made from inputs that have since been replaced.
    """
    path = root / config.folder / config.last_file
    if not path.is_file():
        raise InputError(f"{path}: does not exist; run the {config.stage} stage first")
    try:
        value: dict[str, Any] = json.loads(path.read_text())
        recorded = {named.folder: value["inputs"][named.folder.as_posix()] for named in config.inputs}
        value["digest"], value["files"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is damaged; remove {path.parent} to make it anew") from None
    for named in config.inputs:
        made_from = recorded[named.folder]
        present = unseal(named, root)["digest"]
        if made_from != present:
            raise InputError(
                f"{path}: was made from {named.folder} with digest {made_from[:12]}, but that now has {present[:12]}; "
                f"remove {root / config.folder} to make it anew"
            )
    return value


_locked: list[int] = []  # file descriptors


@contextmanager
def lock(config: StageConfig, root: Path, fences: bool = False) -> Iterator[None]:
    """Hold an artefact while it is made; one process at a time may. It ends with the process, however that ends.

    A SLURM job that was requeued, as its node was lost, may find its former self alive. Where a stage can bear that (`fences`:
    an older attempt cannot write, or writes the same bytes), it goes on beside it; else it waits for it.

    Raises:
        InputError: another process holds it; the message names its process, host and SLURM job.
    """
    path = root / "locks" / f"{config.stage}-{config.hash}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o666), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            by = file.read().strip()
            was_requeued = int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
            is_former_self = was_requeued and by.endswith(f", job {holder()['job']}")
            if is_former_self and fences:
                yield
                return
            if is_former_self:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
                return
            raise InputError(f"{root / config.folder}: is being made already by {by}") from None
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; --root must be on a file system with locks") from None
        text = f"{said(holder())}\n".encode()
        os.pwrite(file.fileno(), text, 0)  # never empty in between: a loser reads it
        os.ftruncate(file.fileno(), len(text))
        _locked.append(file.fileno())
        try:
            yield
        finally:
            _locked.remove(file.fileno())


def held_by(name: str, root: Path) -> str | None:
    """Who makes the artefact of a hash just now, as far as this machine can see."""
    for path in (root / "locks").glob(f"*-{name}"):
        try:
            with path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return file.read().strip()
        except OSError:
            pass
    return None


def _forget_locks() -> None:
    """In a forked process, such as a loader's: else it would go on holding its parent's locks after the parent was killed."""
    for descriptor in _locked:
        os.close(descriptor)
    _locked.clear()


os.register_at_fork(after_in_child=_forget_locks)


def holder() -> dict[str, Any]:
    """Who makes an artefact: this process, its host, its SLURM job if any."""
    return {"process": os.getpid(), "host": socket.gethostname(), "job": os.environ.get("SLURM_JOB_ID")}


def said(holder: dict[str, Any]) -> str:
    """A holder in words."""
    return f"process {holder['process']} on {holder['host']}" + (f", job {holder['job']}" if holder["job"] else "")


def private_folder(folder: Path) -> Path:
    """A folder that only its owner can write, made if need be: code is run from it.

    Raises:
        InputError: it exists and others can write to it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_mode & 0o022 or folder.stat().st_uid != os.getuid():
        raise InputError(f"{folder}: others can write to it, and code is run from it; run chmod 700 {folder}")
    return folder


def rename(made: Path, target: Path) -> None:
    """Give a folder or a file its name, for good."""
    made.rename(target)
    _sync_folder(target.parent)


def fresh_folder(path: Path) -> Path:
    """An empty folder at `path`; remains of an interrupted attempt are removed."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path


def _write_beside(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
