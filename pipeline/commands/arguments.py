"""Kinds of arguments on the command line."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from pipeline.commands.values import Place, SiteFile
from pipeline.configs.base import Frozen
from pipeline.configs.experiment import load_study, options_of
from pipeline.configs.network import Precision
from pipeline.configs.shipped import description, experiment_file, names, summary
from pipeline.errors import InputError

MOST_PROCESSES = 4096  # ours: no machine has as many cores
MOST = 1_000_000  # ours: of steps, lines or images; more is a slip of the hand
TYPED = f"{__name__}.typed"  # the words behind the command's name


PATH = Place(path_type=Path)
ROOT = click.option(
    "--root", type=PATH, default=Path("outputs"), show_default=True, help="Folder of all artefacts."
)
SETTINGS = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="STAGE.FIELD=VALUE",
    help="Another value of any field, such as train.learning_rate=0.02. Repeatable.",
)
Option = Callable[[Callable[..., None]], Callable[..., None]]
PRECISION = click.option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="fp32",
    show_default=True,
    help="Number format of the arithmetic; tf32 and fp16 need a CUDA GPU.",
)
PROCESSES = click.option(
    "--processes",
    type=click.IntRange(1, MOST_PROCESSES),
    help="Ranks here, which trainings share side by side.  [default: one per GPU, or core]",
)


SITE = SiteFile(path_type=Path)


def choices(
    model: type[Frozen], usual: Mapping[str, str]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each field of a config whose fields are all choices.

    A field in `usual` has no default here: its text tells the user what is usual.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        for name, field in reversed(model.model_fields.items()):
            choice = click.Choice(get_args(field.annotation))
            flag = f"--{name.replace('_', '-')}"
            function = click.option(
                flag,
                name,
                type=choice,
                default=None if name in usual else field.default,
                show_default=usual.get(name, True),
                help=field.description,
            )(function)
        return function

    return decorate


class StudyCommand(click.Command):
    """A command on a study. Where the user names an experiment, its help and its shell
    completion also show the description and the options of the experiment.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the typed words: click serves `--help` before it reads EXPERIMENT."""
        ctx.meta[TYPED] = tuple(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the command, then what the experiment says of itself,
        and its options.
        """
        super().format_options(ctx, formatter)
        path = _experiment_in(ctx.meta.get(TYPED, ()))
        path = None if path is None else experiment_file(path)
        if path is not None and (text := description(path)):
            with formatter.section(f"The experiment {path.stem}"), formatter.indentation():
                indent = " " * formatter.current_indent
                formatter.write(
                    "".join(f"{indent}{line}".rstrip() + "\n" for line in text.splitlines())
                )
        with formatter.section("Options of the experiment"):
            if path is None:
                formatter.write_text(f"{ctx.command_path} EXPERIMENT --help lists them.")
            elif records := [option.get_help_record(ctx) for option in options_of(path)]:
                formatter.write_dl([record for record in records if record])
            else:
                formatter.write_text(f"{path} has none.")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the options of the command, then those of the experiment."""
        items = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            names = [name for option in _options_typed(ctx) for name in option.opts]
            items += [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return items


def _experiment_in(words: Iterable[str]) -> Path | None:
    """Return the first word that is an experiment: a Python file, or a name of ours."""
    shipped = names()
    return next((Path(word) for word in words if word.endswith(".py") or word in shipped), None)


def _options_typed(ctx: click.Context) -> list[click.Parameter]:
    """Return the options of the experiment on an unfinished line, if it is whole."""
    path = ctx.params.get("experiment")
    try:
        return options_of(path) if path else []
    except InputError:
        return []


def _complete_experiment(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the names of experiments that ship, and have the shell add files."""
    own = [CompletionItem(name, help=summary(experiment_file(Path(name)))) for name in names()]
    return [item for item in own if item.value.startswith(incomplete)] + [
        CompletionItem(incomplete, type="file")
    ]


def _complete_value(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the values of the experiment's option that was typed last."""
    last = (ctx.params.get("arguments") or ("",))[-1]
    for option in _options_typed(ctx):
        if last in option.opts:
            return option.shell_complete(ctx, incomplete)
    return []


def is_usual(name: str) -> bool:
    """Return whether an option of the command that runs now was left out."""
    source = click.get_current_context().get_parameter_source(name)
    return source in (None, ParameterSource.DEFAULT)


def study_command(
    example: str, needs_experiment: bool = True, settings_option: Option = SETTINGS
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command of a function on a `study`.

    It takes EXPERIMENT, its options, --set and --root. Where no experiment is needed
    and none is given, the study is None. An option in place of --set changes no study,
    and goes to the function.
    """

    def decorate(function: Callable[..., None]) -> click.Command:
        @wraps(function)
        def with_study(
            experiment: Path | None,
            arguments: Sequence[str],
            settings: Sequence[str] = (),
            **options: Any,
        ) -> None:
            if experiment is None and settings:
                raise InputError(f"--set {settings[0]}: of which experiment? name one")
            study = None if experiment is None else load_study(experiment, arguments, settings)
            if experiment is not None and experiment.is_dir() and is_usual("root"):
                options["root"] = experiment.parent.parent  # the folder is ROOT/reports/NAME
            function(study=study, **options)

        options = click.argument(
            "arguments",
            metavar="[OPTIONS OF THE EXPERIMENT]",
            nargs=-1,
            type=click.UNPROCESSED,
            shell_complete=_complete_value,
        )
        command = click.command(
            cls=StudyCommand,
            epilog=f"Example: {example}",
            context_settings={"ignore_unknown_options": True},
        )
        experiment = click.argument(
            "experiment", type=PATH, required=needs_experiment, shell_complete=_complete_experiment
        )
        return command(experiment(options(settings_option(ROOT(with_study)))))

    return decorate
