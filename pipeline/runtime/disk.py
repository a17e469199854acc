"""Write files so that each is either whole or absent.

This holds after a power cut and on a shared disk.
"""

import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` never holds a part of it, even after a power cut."""
    temporary = _write_beside(path, data)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def publish(path: Path, data: bytes) -> bool:
    """Write `data` to `path` unless it exists, and return whether it was written.

    The first writer wins, on a shared disk too.
    """
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
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rename(source: Path, target: Path) -> None:
    """Rename a folder or a file, and sync the new name to the disk."""
    source.rename(target)
    _sync_folder(target.parent)


def fresh_folder(path: Path) -> Path:
    """Make an empty folder; the remains of an interrupted attempt are removed."""
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
