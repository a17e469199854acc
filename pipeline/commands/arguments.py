"""Kinds of arguments on the command line."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import click

from pipeline.configs.base import Frozen
from pipeline.configs.experiment import options_of

MOST_PROCESSES = 4096  # ours: no machine has as many cores
MOST = 1_000_000  # ours: of steps, lines or images; more is a slip of the hand
TYPED = f"{__name__}.typed"  # the words behind the command's name
PATH = click.Path(path_type=Path)
ROOT = click.option(
    "--root", type=PATH, default=Path("outputs"), show_default=True, help="Folder of all artefacts."
)
PROCESSES = click.option(
    "--processes",
    type=click.IntRange(1, MOST_PROCESSES),
    help="Ranks here.  [default: one per GPU, or per core]",
)


class Triple(click.ParamType[tuple[float, ...]]):
    """Three numbers, such as 123,117,104."""

    name = "R,G,B"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        try:
            red, green, blue = (float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not three numbers such as 123,117,104", param, ctx)
        return red, green, blue


class Names(click.ParamType[tuple[str, ...]]):
    """Names, such as crops_1,crops_144."""

    name = "NAME,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        return tuple(part.strip() for part in value.split(","))


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
    """A command on a study. Its help also lists the options of the experiment, where
    the user names one.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the typed words: click serves `--help` before it reads EXPERIMENT."""
        ctx.meta[TYPED] = tuple(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the command, then those of the experiment."""
        super().format_options(ctx, formatter)
        paths = (Path(word) for word in ctx.meta.get(TYPED, ()) if word.endswith(".py"))
        with formatter.section("Options of the experiment"):
            if (path := next(paths, None)) is None:
                formatter.write_text(f"{ctx.command_path} EXPERIMENT --help lists them.")
            elif records := [option.get_help_record(ctx) for option in options_of(path)]:
                formatter.write_dl([record for record in records if record])
            else:
                formatter.write_text(f"{path} has none.")


def study_command(
    example: str, needs_experiment: bool = True
) -> Callable[[Callable[..., None]], click.Command]:
    """Make a command on a study: it takes EXPERIMENT, its options, and --root."""

    def decorate(function: Callable[..., None]) -> click.Command:
        options = click.argument(
            "arguments", metavar="[OPTIONS OF THE EXPERIMENT]", nargs=-1, type=click.UNPROCESSED
        )
        command = click.command(
            cls=StudyCommand,
            epilog=f"Example: {example}",
            context_settings={"ignore_unknown_options": True},
        )
        experiment = click.argument("experiment", type=PATH, required=needs_experiment)
        return command(experiment(options(ROOT(function))))

    return decorate
