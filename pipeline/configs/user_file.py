"""Python files of the user's: how they are run, and how their errors are told."""

import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from pipeline.configs.wrong_fields import clipped, one_line
from pipeline.errors import InputError

LONGEST_TEXT = 500  # ours: the most characters of an error in a user's file
# what ends or replaces a process without an exception
ENDS = ("_exit", "abort", "execv", "execve")


class _Ended(BaseException):
    """A user's file tried to end the process; its own handlers do not see it."""


def python_function(path: Path, name: str, expected: str) -> Callable[..., Any]:
    """Run a user's Python file, and return a function that it defines.

    Raises:
        InputError: there is no such file or function, or the file fails; `expected`
            says what would be right.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such Python file; expected one that defines {expected}")
    spec = importlib.util.spec_from_file_location(f"going_deeper_user_{path.stem}", path.resolve())
    if spec is None:
        raise InputError(f"{path}: is not a Python file; expected one that defines {expected}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with errors_of(path):
        # not through __pycache__, which takes a file that was changed within the same
        # second for the old one
        code = compile(path.read_bytes(), str(path.resolve()), "exec", dont_inherit=True)
        exec(code, module.__dict__)
        function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"{path}: defines no function {name}; expected {expected}")
    defined: Callable[..., Any] = function
    return defined


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Turn whatever a user's file does to end the block into one line.

    These are errors, SystemExit and the like, and calls that end the process at once.

    Raises:
        InputError: the file raised an error, or tried to end the process.
        KeyboardInterrupt: the user asked to end.
    """
    try:
        with _no_end():
            yield
    except InputError:
        raise
    except ValidationError as error:
        raise InputError(f"{path}: {_place(path, error)}{one_line(error)}") from None
    except SyntaxError as error:
        raise InputError(f"{path}: {_syntax(path, error)}") from None
    except BaseException as error:
        if type(error) is KeyboardInterrupt:
            raise
        raise InputError(error_in(path, error)) from None


@contextmanager
def _no_end() -> Iterator[None]:
    """Have the functions that end a process raise instead; a fork of it may end."""
    process, before = os.getpid(), {name: getattr(os, name) for name in ENDS}

    def refusal(name: str) -> Callable[..., NoReturn]:
        def refuse(*arguments: object, **named: object) -> NoReturn:
            if os.getpid() != process:
                before[name](*arguments, **named)
            raise _Ended(f"os.{name} would end the command")

        return refuse

    try:
        for name in ENDS:
            setattr(os, name, refusal(name))
        yield
    finally:
        for name, function in before.items():
            setattr(os, name, function)


def _syntax(path: Path, error: SyntaxError) -> str:
    """Return the line and the message of a syntax error, also of another file's."""
    same = error.filename in (None, str(path.resolve()))
    place = f"line {error.lineno or 1}" if same else f"{error.filename}, line {error.lineno or 1}"
    return f"{place}: {error.msg}"


def error_in(path: Path, error: BaseException) -> str:
    """Return one line for an error inside a user's Python file."""
    try:
        text = " ".join(str(error).split())
    except BaseException:  # a class of the user's own
        text = "its message cannot be shown"
    kind = "" if isinstance(error, _Ended) else f"{type(error).__name__}: "
    return f"{path}: {_place(path, error)}{kind}{clipped(text, LONGEST_TEXT)}"


def _place(path: Path, error: BaseException) -> str:
    """Return the last line of a user's file, or of one beside it, that led to an error.

    It is empty where none did.
    """
    own = path.resolve()
    lines = [
        (Path(frame.f_code.co_filename), line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if Path(frame.f_code.co_filename).parent == own.parent
    ]
    if not lines:
        return ""
    file, line = lines[-1]
    return f"line {line}: " if file == own else f"{file.name}, line {line}: "
