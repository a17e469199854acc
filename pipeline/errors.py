"""One tree of errors. What a user can expect is one line and an exit code; a traceback
is for our own mistakes alone.
"""

from typing import TypeGuard, TypeVar

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
    place.

    >>> str(of_file(OSError(28, "No space left on device"), "outputs/runs"))
    'outputs/runs: No space left on device'
    """
    return StageFailed(f"{error.filename or place}: {error.strerror or error}")


def first_line(error: BaseException) -> str:
    """An error in one line, as a traceback ends: with the name of its class.

    >>> first_line(KeyError("step"))
    "KeyError: 'step'"
    """
    message = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {message}"


def present(value: T | None, what: str) -> T:
    """A value that is there, unless we made a mistake.

    Raises:
        RuntimeError: it is not; an assert would say nothing under PYTHONOPTIMIZE.
    """
    if value is None:
        raise RuntimeError(f"{what}: is missing")
    return value
