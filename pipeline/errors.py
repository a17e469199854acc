"""One tree of errors. What a user can expect is one line and an exit code; a traceback
is for our own mistakes alone.
"""

import difflib
import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeGuard, TypeVar

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
# a failing disk, or too many open files: no other input would be valid either
NO_INPUT = FULL | {errno.EIO, errno.EMFILE, errno.ENFILE}
LONGEST_WORD = 64  # ours: of a word that is compared with names
T = TypeVar("T")


class ExpectedError(Exception):
    """Base of all that a user can expect. The message is one line; `exit_code` is the
    command's.
    """

    exit_code = 3


class InputError(ExpectedError):
    """The user's input is wrong. The message says what, its value, and what would be
    valid.
    """

    exit_code = 2


class StageFailed(ExpectedError):
    """A stage failed, through no fault of the user's input."""


class TrainingDiverged(StageFailed):
    """The loss is no longer a number."""


class StageEnded(ExpectedError):
    """A stage was asked to end (SIGTERM, SIGUSR2) and did, with nothing half-done."""

    exit_code = 143


class Bug(Exception):
    """A mistake of ours, in another process: the message is its traceback."""

    @property
    def last_line(self) -> str:
        """The traceback's end: the error itself."""
        return str(self).strip().splitlines()[-1]


def is_of_file(error: Exception) -> TypeGuard[OSError]:
    """Whether a file is what failed, not the connection to another rank."""
    return isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError)


def of_file(error: OSError, place: object = "a file") -> StageFailed:
    """What to say of a file that a stage could not read or write, or at least of the
    place. Where the disk is full, the message says how much space is free.

    >>> str(of_file(OSError(13, "Permission denied"), "outputs/runs"))
    'outputs/runs: Permission denied'
    """
    where = error.filename or place
    free = _free(Path(str(where))) if error.errno in FULL else ""
    return StageFailed(f"{where}: {error.strerror or error}{free}")


def _free(path: Path) -> str:
    """Return in words how much space is free where a file lies, if that is known."""
    try:
        disk = os.statvfs(next(place for place in (path, *path.parents) if place.exists()))
    except (OSError, StopIteration):
        return ""
    files = " and no more files" if disk.f_files and not disk.f_favail else ""
    return f"; {disk.f_bavail * disk.f_frsize / 1e6:.3f} MB{files} are free"


def is_input(error: OSError) -> bool:
    """Whether a file is wrong input: the user named it, or may permit or mend it."""
    return error.filename is not None and error.errno not in NO_INPUT


def first_line(error: BaseException) -> str:
    """An error in one line, as a traceback ends: with the name of its class.

    >>> first_line(KeyError("step"))
    "KeyError: 'step'"
    """
    message = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {message}"


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """The end of a message: the name that is nearest to a word, if one is near.

    >>> did_you_mean("learning_rte", ["momentum", "learning_rate"])
    '; did you mean learning_rate?'
    >>> did_you_mean("width", ["momentum"])
    ''
    """
    near = difflib.get_close_matches(word[:LONGEST_WORD], list(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def last_line(error: BaseException) -> str:
    """The end of an error's message, where a program that failed says why.

    >>> last_line(RuntimeError("sbatch failed:\\ninvalid partition"))
    'invalid partition'
    """
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def present(value: T | None, what: str) -> T:
    """A value that is there, unless we made a mistake.

    Raises:
        RuntimeError: it is not; an assert would say nothing under PYTHONOPTIMIZE.
    """
    if value is None:
        raise RuntimeError(f"{what}: is missing")
    return value
