"""Experiment files: Python files with a function `experiment(**options) -> Study`.

Its keyword parameters are the options. Python files beside it can be imported.
"""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click

from pipeline.configs.beside import imports_beside
from pipeline.configs.settings import with_settings
from pipeline.configs.shipped import experiment_file
from pipeline.configs.study import Study, study_in
from pipeline.configs.user_file import errors_of, python_function
from pipeline.configs.wrong_fields import LONGEST_VALUE, clipped
from pipeline.errors import InputError, did_you_mean
from pipeline.repeated import refuse_repeated

# the function of an experiment file, as its name and its signature
EXPERIMENT = ("experiment", "experiment(**options) -> Study")
LARGEST_NUMBER = 1_000_000  # ours: a loop to it ends; a seed beyond it can be in the file


def load_study(
    path: str | Path, arguments: Sequence[str] = (), settings: Sequence[str] = ()
) -> Study:
    """Return the study that an experiment file defines for command-line options such as
    `["--members", "3"]`, with `settings` such as `["train.learning_rate=0.02"]`.

    A folder of a report, such as `outputs/reports/demo-5f...`, is its study.

    Raises:
        InputError: there is no such file, no function `experiment` in it, an unknown
            option, or a value out of range.
    """
    if Path(path).is_dir():
        if arguments:
            raise InputError(
                f"{path}: is a study with its options, and takes no others ({arguments[0]})"
            )
        return with_settings(study_in(Path(path)), settings)
    typed, path = Path(path), experiment_file(Path(path))
    with imports_beside(path):
        function = python_function(path, *EXPERIMENT)
        params = _options_in(path, function)
        with errors_of(path):
            values = _values(typed, params, arguments)
            _refuse_large(typed, params, values)
            study = function(**values)
    if not isinstance(study, Study):
        raise InputError(
            f"{path}: experiment() returned {type(study).__name__}; expected a"
            " pipeline.configs.study.Study"
        )
    return with_settings(study, settings)


def _values(path: Path, params: list[click.Parameter], arguments: Sequence[str]) -> dict[str, Any]:
    """Return the values of an experiment's options, by name."""
    command = click.Command(path.stem, params=params, add_help_option=False)
    try:
        refuse_repeated(command, click.Context(command, info_name=path.stem), arguments)
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
    annotation, and the text in it (`Annotated[int, "Seeds of each arm."]`) as help.
    """
    return [
        click.Option(
            [f"--{name.replace('_', '-')}", name],
            type=_click_type(parameter.annotation),
            show_default=True,
            help=next((m for m in _notes(parameter.annotation) if isinstance(m, str)), None),
            **(
                {"required": True}
                if parameter.default is parameter.empty
                else {"default": parameter.default}
            ),
        )
        for name, parameter in inspect.signature(function, eval_str=True).parameters.items()
    ]


def _notes(annotation: Any) -> tuple[Any, ...]:
    """Return what an annotation says beside its type."""
    return get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()


def _click_type(annotation: Any) -> Any:
    numbers = next((note for note in _notes(annotation) if isinstance(note, range)), None)
    if numbers is not None:  # Count
        return click.IntRange(numbers[0], numbers[-1])
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):  # Path | None: an option without a default
        annotation = next(part for part in get_args(annotation) if part is not NoneType)
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if annotation is Path:
        return click.Path(path_type=Path)
    return annotation
