"""Write files so that each is either whole or absent.

This holds after a power cut and on a shared disk.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import FULL
from pipeline.runtime import remains

BLOCK = 2**20  # ours: bytes of a file in memory while it is copied


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` never holds a part of it, even after a power cut."""
    write_parts(path, (data,), len(data))


def write_parts(path: Path, parts: Iterable[bytes], num_bytes: int | None = None) -> None:
    """Write parts one behind the other, as `write_atomic` does.

    Only one part is in memory. `num_bytes` is about what is written.
    """
    with beside(path, num_bytes) as temporary:
        _write(temporary, parts)
        temporary.replace(path)
        _sync_folder(path.parent)


def copy(source: Path, target: Path) -> None:
    """Copy a file, as `write_atomic` writes one; only a block of it is in memory."""
    with source.open("rb") as file:
        blocks = iter(lambda: file.read(BLOCK), b"")
        write_parts(target, blocks, source.stat().st_size)


def publish(path: Path, data: bytes) -> bool:
    """Write `data` to `path` unless it exists, and return whether it was written.

    The first writer wins, on a shared disk too.
    """
    with beside(path, len(data)) as temporary:
        _write(temporary, (data,))
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    return True


@contextmanager
def beside(path: Path, num_bytes: int | None = None) -> Iterator[Path]:
    """Yield a hidden path beside `path`: the block writes it, and renames it when it is
    whole.

    After the block, nothing of it is left. What killed processes left in this folder is
    removed first. `num_bytes` is about what the block writes.

    Raises:
        OSError: the disk is full, or may not be written to; the error names `path`.
    """
    with named(path, num_bytes):
        path.parent.mkdir(parents=True, exist_ok=True)
        remains.sweep_once(path.parent)
        temporary = remains.unfinished(path)
        try:
            yield temporary
        finally:
            remains.remove(temporary)


@contextmanager
def named(path: Path, num_bytes: int | None = None) -> Iterator[None]:
    """Let an error of the block name `path` where the disk is full or read-only.

    The kernel names no file in an error of a write. The error says how much space is
    needed.
    """
    try:
        yield
    except OSError as error:
        is_hidden = isinstance(error.filename, str) and remains.MARK.search(error.filename)
        if error.errno not in (*FULL, errno.EROFS) and not is_hidden:
            raise  # of another file, such as one that is read
        is_short = error.errno in FULL and num_bytes is not None
        needed = f"; it needs {(num_bytes or 0) / 1e6:.3f} MB" if is_short else ""
        raise OSError(error.errno, f"{error.strerror}{needed}", str(path)) from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomic(path, as_json(value))


def as_json(value: Any) -> bytes:
    """Return a value as indented JSON."""
    return (json.dumps(value, indent=1) + "\n").encode()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    return digest(path, "sha256")


def digest(path: Path, algorithm: str) -> str:
    """Return a digest of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def rename(source: Path, target: Path) -> None:
    """Rename a folder or a file, and sync the new name to the disk."""
    source.rename(target)
    _sync_folder(target.parent)


def _write(path: Path, parts: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
