"""Kinds of arguments on the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from pipeline.configs.base import Frozen

PATH = click.Path(path_type=Path)
ROOT = click.option(
    "--root", type=PATH, default=Path("outputs"), show_default=True, help="Folder of all artefacts."
)
PROCESSES = click.option(
    "--processes",
    type=click.IntRange(min=1),
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


def choices(model: type[Frozen]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An option for each field of a config whose fields are all choices."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        for name, field in reversed(model.model_fields.items()):
            choice = click.Choice(get_args(field.annotation))
            flag = f"--{name.replace('_', '-')}"
            function = click.option(
                flag,
                name,
                type=choice,
                default=field.default,
                show_default=True,
                help=field.description,
            )(function)
        return function

    return decorate


def study_command(example: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command on a study: EXPERIMENT, the experiment's own options, and --root."""

    def decorate(function: Callable[..., None]) -> click.Command:
        options = click.argument(
            "arguments", metavar="[OPTIONS OF THE EXPERIMENT]", nargs=-1, type=click.UNPROCESSED
        )
        command = click.command(
            epilog=f"Example: {example}", context_settings={"ignore_unknown_options": True}
        )
        return command(click.argument("experiment", type=PATH)(options(ROOT(function))))

    return decorate
