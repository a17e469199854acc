"""Small C++ libraries, built on first use by the system's compiler and kept in this
user's cache.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.runtime import disk

FLAGS = ("-O3", "-std=c++17", "-fno-math-errno", "-fPIC", "-shared")
Signatures = tuple[tuple[str, tuple[Any, ...]], ...]  # each function and the types of its arguments


def cache_folder() -> Path:
    """Where what is compiled on this machine is kept: below XDG_CACHE_HOME or ~/.cache,
    for this user alone.

    Raises:
        InputError: it cannot be made, or others can write to it.
    """
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "going-deeper"
        return disk.private_folder(folder)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"XDG_CACHE_HOME, or else ~/.cache: cannot hold what is compiled here: {error}"
        ) from None


def compiler() -> list[str] | None:
    """The C++ compiler that CXX names, or g++; None where there is none."""
    command = shlex.split(os.environ.get("CXX", "g++"))
    return command if command and shutil.which(command[0]) else None


@cache
def library(package: str, source: str, signatures: Signatures) -> ctypes.CDLL | str:
    """The functions of a C++ file that lies in a package, built if need be, or the
    reason why there are none.
    """
    command = compiler()
    if command is None:
        return f"no C++ compiler ({os.environ.get('CXX', 'g++')}) on the PATH"
    try:
        loaded = _load(_build(package, source, command, cache_folder()))
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip() or "no message"
        return f"{shlex.join(command)} cannot build {source}: {said.splitlines()[0]}"
    except (InputError, OSError) as error:
        return str(error)
    for name, types in signatures:
        getattr(loaded, name).argtypes = types
    return loaded


def _build(package: str, name: str, command: list[str], folder: Path) -> Path:
    """The library's file, which is named for all that it is made from."""
    source = resources.files(package).joinpath(name).read_bytes()
    made_from = (source, FLAGS, command, platform.machine(), platform.libc_ver())
    path = (
        folder / f"{Path(name).stem}-{hashlib.sha256(repr(made_from).encode()).hexdigest()[:16]}.so"
    )
    if not path.exists():
        with tempfile.TemporaryDirectory() as scratch:
            built = Path(scratch) / path.name
            subprocess.run(
                [*command, *FLAGS, "-x", "c++", "-", "-o", str(built)],
                input=source,
                capture_output=True,
                check=True,
            )
            disk.write_atomic(path, built.read_bytes())
    return path


def _load(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError:  # a damaged file would else be in the way for ever
        path.unlink()
        raise
