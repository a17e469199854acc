"""Digests of files: a process compares a file with its digest once, before its use."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pipeline.configs.base import StageConfig
from pipeline.errors import InputError
from pipeline.runtime.disk import sha256

V = TypeVar("V")
SHOWN = 12  # ours: hex digits of a digest that a message shows
# by path, reader and its arguments: the state of the file, and what was read
_read: dict[tuple[Any, ...], tuple[tuple[int, ...], Any]] = {}


def once(path: Path, read: Callable[..., V], *arguments: Any) -> V:
    """Return what `read(path, *arguments)` returns; a file is read again only after a
    change.
    """
    status = path.stat()
    state = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
    known = _read.get((path, read, *arguments))
    if known is None or known[0] != state:
        known = _read[path, read, *arguments] = (state, read(path, *arguments))
    content: V = known[1]
    return content


def compare(
    path: Path,
    expected: str | None,
    remedy: str,
    digest: Callable[..., str] = sha256,
    *arguments: Any,
) -> None:
    """Compare a file with its digest; `remedy` says how it is made again.

    Raises:
        InputError: the file has no digest, is missing or has another digest.
    """
    if expected is None:
        raise InputError(f"{path}: is not among the files that were sealed; {remedy}")
    try:
        present = once(path, digest, *arguments)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise InputError(f"{path}: is missing; {remedy}") from None
    if present != expected:
        raise InputError(
            f"{path}: is damaged (digest {present[:SHOWN]}, sealed {expected[:SHOWN]}); {remedy}"
        )


def remedy_of(config: StageConfig, root: Path, name: str = "") -> str:
    """Return in words how an artefact is made again that is damaged, or its file `name`
    is.
    """
    folder = root / config.folder
    if config.stage != "prepare":
        return f"remove {folder} to make it anew"
    if name == config.last_file:
        return f"remove {folder / name}, and run makes it anew: whole shards are kept"
    return f"going-deeper data verify {folder} --repair makes it again"


def seal_of(value: Mapping[str, Any]) -> str:
    """Return the digest of a last file, but for its `seal`."""
    rest = {name: item for name, item in value.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def digest_of(files: Mapping[str, str]) -> str:
    """Return an artefact's digest, made from the names and digests of its files."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()
