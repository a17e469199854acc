"""Build small C++ libraries on first use, and keep them in this user's cache.

The system's compiler builds them.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.runtime import disk
from pipeline.runtime.private import private_folder

FLAGS = ("-O3", "-std=c++17", "-fno-math-errno", "-fPIC", "-shared")
Signatures = tuple[tuple[str, tuple[Any, ...]], ...]  # functions and argument types


def cache_folder() -> Path:
    """Return this user's folder for compiled code, below XDG_CACHE_HOME or ~/.cache.

    Raises:
        InputError: the folder cannot be made, or others can write to it or replace it.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "going-deeper"
        return private_folder(folder)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"XDG_CACHE_HOME, or else ~/.cache: cannot hold what is compiled here: {error}"
        ) from None


def compiler() -> list[str] | None:
    """Return the C++ compiler that CXX names, or g++; None where there is none."""
    command = shlex.split(os.environ.get("CXX", "g++"))
    return command if command and shutil.which(command[0]) else None


@cache
def library(package: str, source: str, signatures: Signatures) -> ctypes.CDLL | str:
    """Return the functions of a package's C++ file, built if need be.

    The result is a text with the reason where there are none.
    """
    command = compiler()
    if command is None:
        return f"no C++ compiler ({os.environ.get('CXX', 'g++')}) on the PATH"
    try:
        loaded = _load(_build(package, source, command, cache_folder()))
    except subprocess.CalledProcessError as error:
        message = error.stderr.decode(errors="replace").strip() or "no message"
        return f"{shlex.join(command)} cannot build {source}: {message.splitlines()[0]}"
    except (InputError, OSError) as error:
        return str(error)
    for name, types in signatures:
        getattr(loaded, name).argtypes = types
    return loaded


def _build(package: str, name: str, command: list[str], folder: Path) -> Path:
    """Build the library, and return its file; the name depends on all inputs.

    Its digest lies beside it. A file that differs from it is built again.
    """
    source = resources.files(package).joinpath(name).read_bytes()
    inputs = (source, FLAGS, command, platform.machine(), platform.libc_ver())
    path = folder / f"{Path(name).stem}-{hashlib.sha256(repr(inputs).encode()).hexdigest()[:16]}.so"
    if not _is_sound(path):
        with disk.beside(path) as scratch:
            scratch.mkdir()
            result = scratch / path.name
            subprocess.run(
                [*command, *FLAGS, "-x", "c++", "-", "-o", str(result)],
                input=source,
                capture_output=True,
                check=True,
            )
            content = result.read_bytes()
        disk.write_atomic(path, content)
        disk.write_atomic(_digest_path(path), hashlib.sha256(content).hexdigest().encode())
    return path


def _is_sound(path: Path) -> bool:
    """Return whether a library is the one that was built here."""
    try:
        return disk.sha256(path).encode() == _digest_path(path).read_bytes()
    except FileNotFoundError:
        return False


def _digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _load(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # a damaged file would fail every later load
        path.unlink()
        raise
