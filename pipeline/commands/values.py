"""Kinds of values on the command line: paths, sites, numbers and names in lists."""

import re
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from pipeline.configs.other_network import MOST_PIXELS
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


# what --model says of a network: arguments of `tools.foreign.foreign_config`
FIELDS = (
    "arch",
    "weights",
    "weights_key",
    "input_size",
    "mean",
    "std",
    "channel_order",
    "transform_input",
)


class Model(click.ParamType[dict[str, Any]]):
    """A network, such as arch=timm:resnet50,weights=FILE."""

    name = "KEY=VALUE,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, Any]:
        model: dict[str, Any] = {}
        # a comma in a path ends no field
        for part in re.split(rf",(?=(?:{'|'.join(FIELDS)})=)", value):
            key, _, text = part.partition("=")
            is_several = key != "weights" and "=" in text
            if key not in FIELDS or key in model or not text or is_several:
                hint = f"expected {', '.join(FIELDS)}, each once"
                self.fail(f"{part!r} is no KEY=VALUE of a network; {hint}", param, ctx)
            model[key] = self._value(key, text, param, ctx)
        return model

    def _value(
        self, key: str, text: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        kinds: dict[str, click.ParamType[Any]] = {
            "weights": click.Path(path_type=Path),
            "input_size": click.IntRange(32, MOST_PIXELS),
            "channel_order": click.Choice(["rgb", "bgr"]),
            "transform_input": click.BOOL,
        }
        if key in ("mean", "std"):
            return Triple().convert(text.replace("/", ","), param, ctx)
        return kinds[key].convert(text, param, ctx) if key in kinds else text


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
