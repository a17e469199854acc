"""Remains: files and folders that a killed process left unfinished.

The name of each unfinished file says which process writes it. Another process removes
the file only if that process is certainly dead.
"""

import hashlib
import os
import re
import shutil
import sys
import tempfile
import uuid
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path

# ours: no write takes so long, and a process of another machine can be judged by
# nothing else
WEEK_SECONDS = 7 * 24 * 3600
GONE = -1  # the start of a process that is dead
MARK = re.compile(r"\..+\.(?P<kernel>[0-9a-f]{8})-(?P<process>\d+)-(?P<start>\d+)-[0-9a-f]{8}")


def unfinished(path: Path) -> Path:
    """Return a new hidden name beside `path`, for the time until it is whole."""
    mark = f"{_kernel()}-{os.getpid()}-{_start(os.getpid()) or 0}-{uuid.uuid4().hex[:8]}"
    return path.with_name(f".{path.name}.{mark}")


def is_remains(path: Path) -> bool:
    """Return whether a path was left by a process that is certainly dead.

    Two containers may have the same host name and the same numbers of processes, but
    not the same kernel and namespace.
    """
    mark = MARK.fullmatch(path.name)
    if mark is None:
        return False
    if mark["kernel"] == _kernel():
        start, now = int(mark["start"]), _start(int(mark["process"]))
        return now == GONE or bool(start and now and start != now)
    try:
        # the clock of the disk, as those of two machines may differ
        with tempfile.TemporaryFile(dir=path.parent) as probe:
            return os.fstat(probe.fileno()).st_mtime - path.lstat().st_mtime > WEEK_SECONDS
    except OSError:
        return False


def sweep(folder: Path, silent: bool = False) -> None:
    """Remove the remains in a folder, and say so in a line, unless `silent`."""
    removed = [path.name for path in _listed(folder) if is_remains(path) and remove(path)]
    if removed and not silent:
        more = f" and {len(removed) - 1} more" if len(removed) > 1 else ""
        print(
            f"{folder}: removed {removed[0]}{more}, which a killed process left unfinished",
            file=sys.stderr,
        )


@lru_cache(1000)
def sweep_once(folder: Path) -> None:
    """Sweep a folder, at the first call in this process."""
    sweep(folder)


def set_aside(path: Path, why: str) -> None:
    """Rename what is damaged to `<name>.damaged`, and say so in a line."""
    target = path.with_name(f"{path.name}.damaged")
    for number in range(2, 1000):
        if not target.exists():
            break
        target = path.with_name(f"{path.name}.damaged{number}")
    with suppress(FileNotFoundError):  # another process was first
        path.rename(target)
        print(f"{path}: {why}; it is now {target.name}", file=sys.stderr)


def remove(path: Path) -> bool:
    """Remove a file or a folder, and return whether this process did."""
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:  # another process was first, or the disk is read-only
        return False
    return True


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


@cache
def _kernel() -> str:
    """Return what stands for this kernel since its start, and for our namespace of
    processes.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    space = Path("/proc/self/ns/pid").stat().st_ino
    return hashlib.sha256(boot + str(space).encode()).hexdigest()[:8]


def _start(process: int) -> int | None:
    """Return when a process began, in the kernel's ticks.

    It is `GONE` for a process that is dead, and None where that cannot be seen.
    """
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return GONE
    except OSError:
        pass  # it is another user's
    try:
        if Path("/proc/self").readlink().name != str(os.getpid()):
            return None  # /proc is another namespace's
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return GONE if fields[0] in "ZX" else int(fields[19])
