"""Experiment files: Python files with a function `experiment(**options) -> Study`.

Its keyword parameters are the options. Python files beside it can be imported.
"""

import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

import click
from pydantic import ValidationError

from pipeline.configs.beside import imports_beside
from pipeline.configs.shipped import experiment_file
from pipeline.configs.study import Study
from pipeline.configs.wrong_fields import LONGEST_VALUE, clipped, one_line
from pipeline.errors import InputError, did_you_mean

# the function of an experiment file, as its name and its signature
EXPERIMENT = ("experiment", "experiment(**options) -> Study")
LONGEST_TEXT = 500  # ours: the most characters of an error in a user's file
LARGEST_NUMBER = 1_000_000  # ours: a loop to it ends; a seed beyond it can be in the file
# what ends or replaces a process without an exception
ENDS = ("_exit", "abort", "execv", "execve")


class _Ended(BaseException):
    """A user's file tried to end the process; its own handlers do not see it."""


def load_study(path: str | Path, arguments: Sequence[str] = ()) -> Study:
    """Return the study that an experiment file defines for command-line options such as
    `["--members", "3"]`.

    Raises:
        InputError: there is no such file, no function `experiment` in it, an unknown
            option, or a value out of range.
    """
    path = experiment_file(Path(path))
    with imports_beside(path):
        function = python_function(path, *EXPERIMENT)
        params = _options_in(path, function)
        with errors_of(path):
            values = _values(path, params, arguments)
            _refuse_large(path, params, values)
            study = function(**values)
    if not isinstance(study, Study):
        raise InputError(
            f"{path}: experiment() returned {type(study).__name__}; expected a"
            " pipeline.configs.study.Study"
        )
    return study


def _values(path: Path, params: list[click.Parameter], arguments: Sequence[str]) -> dict[str, Any]:
    """Return the values of an experiment's options, by name."""
    command = click.Command(path.stem, params=params, add_help_option=False)
    try:
        return command.make_context(path.stem, list(arguments)).params
    except click.UsageError as error:
        message, own = error.format_message().rstrip("."), [option.opts[0] for option in params]
        hint = ""
        if isinstance(error, click.NoSuchOption):
            message = f"No such option {error.option_name}"
            hint = did_you_mean(error.option_name, [*own, *_options_of_command()])
        hint = hint or f"; its options are: {', '.join(own) or 'none'}"
        raise InputError(f"{path}: {message}{hint}") from None


def _options_of_command() -> list[str]:
    """Return the options of the command that runs now, if one does."""
    context = click.get_current_context(silent=True)
    return [name for option in context.command.params for name in option.opts] if context else []


def _refuse_large(path: Path, of: Sequence[click.Parameter], values: dict[str, Any]) -> None:
    """Refuse a number to which no loop over members or seeds would come."""
    for option in of:
        value = values[str(option.name)]
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER and value != option.default:
            raise InputError(
                f"{path}: {option.opts[0]} {clipped(str(value), LONGEST_VALUE)}: expected a whole"
                f" number up to {LARGEST_NUMBER}; a larger one can be written in the file"
            )


def options_of(path: Path) -> list[click.Parameter]:
    """Return the options of an experiment file.

    Raises:
        InputError: there is no such file, or no function `experiment` in it.
    """
    path = experiment_file(path)
    with imports_beside(path):
        return _options_in(path, python_function(path, *EXPERIMENT))


def _options_in(path: Path, function: Callable[..., Study]) -> list[click.Parameter]:
    with errors_of(path):
        return options(function)


def options(function: Callable[..., Study]) -> list[click.Parameter]:
    """Return a command-line option for each keyword parameter, with the type of its
    annotation.
    """
    return [
        click.Option(
            [f"--{name.replace('_', '-')}", name],
            type=_click_type(parameter.annotation),
            show_default=True,
            **(
                {"required": True}
                if parameter.default is parameter.empty
                else {"default": parameter.default}
            ),
        )
        for name, parameter in inspect.signature(function, eval_str=True).parameters.items()
    ]


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


def _click_type(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):  # Path | None: an option without a default
        annotation = next(part for part in get_args(annotation) if part is not NoneType)
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if get_origin(annotation) is Annotated:  # Count
        numbers = get_args(annotation)[1]
        return click.IntRange(numbers[0], numbers[-1])
    if annotation is Path:
        return click.Path(path_type=Path)
    return annotation
