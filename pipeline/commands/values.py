"""Kinds of values on the command line: paths, sites, numbers and names in lists."""

from typing import Any

import click
from click.shell_completion import CompletionItem

from slurm.site import site_names


class Place(click.Path):
    """A path; an empty text is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("is empty; expected a path", param, ctx)
        return super().convert(value, param, ctx)


class SiteFile(Place):
    """A site file, or the name of one that ships."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        own = [CompletionItem(name) for name in site_names() if name.startswith(incomplete)]
        return own + super().shell_complete(ctx, param, incomplete)


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


class Counts(click.ParamType[tuple[int, ...]]):
    """Numbers, such as 1,2,4."""

    name = "N,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isdecimal() and len(part) < 10 and int(part) for part in parts):
            self.fail(f"{value!r} is no list of numbers such as 1,2,4 (1 to 999999999)", param, ctx)
        return tuple(int(part) for part in parts)


class Names(click.ParamType[tuple[str, ...]]):
    """Names, such as crops_1,crops_144."""

    name = "NAME,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        return tuple(part.strip() for part in value.split(","))
