"""The paper's own numbers, from `published.toml` beside this file."""

import tomllib
from importlib import resources
from typing import Literal, NamedTuple

from pydantic import TypeAdapter


class Cell(NamedTuple):
    """A cell of Table 3. `models` is "all" where any number of ensemble members will do."""

    models: int | Literal["all"]
    crops: int


class Claim(NamedTuple):
    """Something the paper says that a study can judge.

    kind: `error` (a published error), `gain` (a published difference to `base`), `order` (fewer errors than `base`) or
    `ensemble` (fewer errors than the mean member).
    """

    id: str
    text: str
    kind: Literal["error", "gain", "order", "ensemble"]
    cell: Cell
    base: Cell | None = None
    published: float | None = None
    tolerance: float | None = None
    reason: str | None = None


_PUBLISHED = tomllib.loads(resources.files(__package__).joinpath("published.toml").read_text())

DATASET: str = _PUBLISHED["table3"]["dataset"]
SOURCE: str = _PUBLISHED["table3"]["source"]
TABLE3: dict[Cell, float] = {Cell(c["models"], c["crops"]): c["top5_error"] for c in _PUBLISHED["table3"]["cells"]}
CLAIMS = TypeAdapter(tuple[Claim, ...]).validate_python(_PUBLISHED["claim"])
