"""Locks: one process at a time makes an artefact, and others see who it is."""

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TextIO

from pipeline.artefacts.facts import Holder
from pipeline.configs.base import StageConfig
from pipeline.errors import InputError
from pipeline.runtime import disk, file_system, remains

# ours: a look (`held_by`) takes the lock for some microseconds, and a killed command's
# ranks need a moment to end
PATIENCE_SECONDS = 3.0
POLL_SECONDS = 0.02  # ours
_locked: list[int] = []  # file descriptors


@contextmanager
def lock(config: StageConfig, root: Path, fences: bool = False) -> Iterator[None]:
    """Lock an artefact while it is made.

    One process at a time holds the lock. The lock ends with its process, however that
    ends. A folder in the lock's place is set aside.

    SLURM requeues a job when its node is lost, but the first run of the job may still
    be alive. With `fences` (an older attempt cannot write, or writes the same bytes)
    the new run goes on beside the old one; without, it waits for the old one to end.

    Raises:
        InputError: another process keeps the lock for seconds; the message names that
            process, its host and its SLURM job.
    """
    path = root / "locks" / f"{config.stage}-{config.hash}"
    path.parent.mkdir(parents=True, exist_ok=True)
    file_system.refuse_unfit(root)
    if path.is_dir():
        remains.set_aside(path, "is a folder in the place of a lock")
    with os.fdopen(os.open(path, os.O_CREAT | os.O_RDWR, 0o666), "r+") as file:
        _forget_in_forks()
        _locked.append(file.fileno())
        try:
            if _is_locked(path, file):
                text = f"{holder().words}\n".encode()
                # the file is never empty: another process may read it
                with disk.named(path, len(text)):
                    os.pwrite(file.fileno(), text, 0)
                    os.ftruncate(file.fileno(), len(text))
            else:
                by = file.read().strip()
                was_requeued = int(os.environ.get("SLURM_RESTART_COUNT", "0")) > 0
                if not (was_requeued and by.endswith(f", job {holder().job}")):
                    raise InputError(f"{root / config.folder}: is being made already by {by}")
                if not fences:
                    fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            _locked.remove(file.fileno())


def _is_locked(path: Path, file: TextIO) -> bool:
    """Lock an open file, and return whether that was possible.

    Raises:
        InputError: the file system has no locks.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        except OSError as error:
            raise InputError(
                f"{path.parents[1]}: its file system has no locks ({error.strerror}); --root must"
                " be on one with hard links, and locks that all hosts see"
            ) from None


def held_by(name: str, root: Path) -> str | None:
    """Return who makes the artefact of a hash now, as far as this machine can see."""
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


@cache
def _forget_in_forks() -> None:
    """Register `_forget_locks`, once in a process, with its first lock."""
    os.register_at_fork(after_in_child=_forget_locks)


def _forget_locks() -> None:
    """Close the parent's locks in a forked process, such as a loader's.

    An open one would hold the lock after the parent was killed.
    """
    for descriptor in _locked:
        os.close(descriptor)
    _locked.clear()


def holder() -> Holder:
    """Return this process as a holder."""
    return Holder(
        process=os.getpid(), host=socket.gethostname(), job=os.environ.get("SLURM_JOB_ID")
    )
