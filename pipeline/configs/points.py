"""The points of a sweep: every combination of several values of fields, as settings."""

import math
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from pipeline.configs.settings import EXPECTED, with_settings
from pipeline.configs.study import Study
from pipeline.configs.wrong_fields import LONGEST_VALUE, clipped
from pipeline.errors import InputError

MOST_POINTS = 1000  # ours: each is a study; more is a slip of the hand


class Point(NamedTuple):
    """A study with one value of each field that a sweep varies."""

    values: dict[str, str]
    study: Study


def points(
    study: Study, given: Sequence[str], num_random: int | None = None, seed: int = 0
) -> list[Point]:
    """Return the points of a grid such as `["train.learning_rate=0.01,0.02"]`, or
    `num_random` different ones of them, drawn with a seed.

    The last field varies fastest. A field with one value has it in all points. The
    study itself may be a point.

    Raises:
        InputError: a field has no values or two lists of them, two points are one
            study, a value is out of range, or the points are too many.
    """
    grid = _grid(given)
    total = math.prod(map(len, grid.values()))
    if num_random is not None and num_random > total:
        raise InputError(f"--random {num_random}: the grid has {total} points; expected fewer")
    if (num_random or total) > MOST_POINTS:
        raise InputError(
            f"--set: {total} points are more than {MOST_POINTS}; --random N takes N of them"
        )
    numbers = range(total) if num_random is None else Random(seed).sample(range(total), num_random)
    chosen = [_point(study, grid, number) for number in numbers]
    known: dict[str, Point] = {}
    for point in chosen:
        numbers_alone = point.study.but(title="a point").hash  # titles have the settings
        if (other := known.setdefault(numbers_alone, point)) is not point:
            raise InputError(
                f"--set: {in_words(other)} and {in_words(point)} are one study; expected values"
                " that change its numbers"
            )
    return chosen


def in_words(point: Point) -> str:
    """Return the settings of a point."""
    return " ".join(f"{field}={value}" for field, value in point.values.items())


def _grid(given: Sequence[str]) -> dict[str, list[str]]:
    grid: dict[str, list[str]] = {}
    for setting in given:
        field, equals, text = setting.partition("=")
        values, field = _split(text), field.strip()
        shown = clipped(setting, LONGEST_VALUE)
        if not equals or not all(values):
            raise InputError(f"--set {shown}: {EXPECTED} or several values: 0.01,0.02")
        if field in grid:
            raise InputError(f"--set {shown}: sets a field a second time")
        grid[field] = values
    return grid


def _split(text: str) -> list[str]:
    """Return the values between commas; those in brackets belong to a value.

    >>> _split("0.01,0.02"), _split("[1,2],[3]")
    (['0.01', '0.02'], ['[1,2]', '[3]'])
    """
    values, value = [], ""
    for part in text.split(","):
        value += f",{part}" if value else part
        if all(value.count(left) <= value.count(right) for left, right in ("[]", "{}")):
            values.append(value.strip())
            value = ""
    return [*values, value] if value else values


def _point(study: Study, grid: dict[str, list[str]], number: int) -> Point:
    """Return a point by its number, in the order of the grid."""
    values: dict[str, str] = {}
    for field in reversed(grid):
        number, k = divmod(number, len(grid[field]))
        values[field] = grid[field][k]
    values = {field: values[field] for field in grid}
    settings = [f"{field}={value}" for field, value in values.items()]
    return Point(values, with_settings(study, settings, may_be_same=True))
