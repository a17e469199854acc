"""Experiment files: Python files with a function `experiment(**options) -> Study`.

Its keyword parameters are the options.
"""

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click
from pydantic import ValidationError

from pipeline.configs.study import Study
from pipeline.errors import InputError

# the function of an experiment file, as its name and its signature
EXPERIMENT = ("experiment", "experiment(**options) -> Study")
LONGEST_VALUE = 120  # ours: the most characters of a wrong value in a message


def load_study(path: Path, arguments: Sequence[str]) -> Study:
    """Return the study that an experiment file defines for command-line options such as
    `["--members", "3"]`.

    Raises:
        InputError: there is no such file, no function `experiment` in it, an unknown
            option, or a value out of range.
    """
    function = python_function(path, *EXPERIMENT)
    command = click.Command(path.stem, params=options(function), add_help_option=False)
    try:
        values = command.make_context(path.stem, list(arguments)).params
        study = function(**values)
    except click.UsageError as error:
        valid = ", ".join(option.opts[0] for option in command.params) or "none"
        raise InputError(
            f"{path}: {error.format_message().rstrip('.')}; its options are: {valid}"
        ) from None
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error)}") from None
    except InputError:
        raise
    except Exception as error:
        raise InputError(error_in(path, error)) from None
    if not isinstance(study, Study):
        raise InputError(
            f"{path}: experiment() returned {type(study).__name__}; expected a"
            " pipeline.configs.study.Study"
        )
    return study


def options_of(path: Path) -> list[click.Parameter]:
    """Return the options of an experiment file.

    Raises:
        InputError: there is no such file, or no function `experiment` in it.
    """
    return options(python_function(path, *EXPERIMENT))


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


def one_line(error: ValidationError) -> str:
    """Return the errors of a validation as one line: field, value, what is valid."""
    items = error.errors()
    inner = [
        item
        for item in items
        if not any(o["loc"][: len(item["loc"])] == item["loc"] for o in items if o is not item)
    ]
    lines = []
    for item in inner or items:
        field, message = (
            ".".join(str(part) for part in item["loc"]),
            item["msg"].removeprefix("Value error, "),
        )
        value = repr(item["input"])
        # a whole config would fill pages
        value = value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]} ..."
        lines.append(f"{field} = {value}: {message}" if field else message)
    return "; ".join(lines)


def python_function(path: Path, name: str, expected: str) -> Callable[..., Any]:
    """Run a user's Python file, and return a function that it defines.

    Raises:
        InputError: there is no such file or function, or the file fails; `expected`
            says what would be right.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such Python file; expected one that defines {expected}")
    spec = importlib.util.spec_from_file_location(f"going_deeper_user_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise InputError(f"{path}: is not a Python file; expected one that defines {expected}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise InputError(f"{path}: line {error.lineno or 1}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        raise InputError(error_in(path, error)) from None
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"{path}: defines no function {name}; expected {expected}")
    defined: Callable[..., Any] = function
    return defined


def error_in(path: Path, error: BaseException) -> str:
    """Return one line for an error inside a user's Python file."""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path.resolve())
    ]
    place = f"line {lines[-1]}: " if lines else ""
    text = " ".join(str(error).split())
    return f"{path}: {place}{type(error).__name__}: {text}"


def _click_type(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):  # Path | None: an option without a default
        annotation = next(part for part in get_args(annotation) if part is not NoneType)
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if annotation is Path:
        return click.Path(path_type=Path)
    return annotation
