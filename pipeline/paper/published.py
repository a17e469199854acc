"""The published numbers, from `published.toml` beside this file.

They are the paper's Tables 1 and 3, its claims, and related results of others.
"""

import tomllib
from importlib import resources
from typing import Literal, NamedTuple

from pydantic import TypeAdapter

from pipeline.paper.policies import CURVE, NUM_CROPS


class PrintedRow(NamedTuple):
    """A row of Table 1 as the paper prints it.

    `params` are in K = 1024 weights, `ops` in millions of multiply-adds.
    """

    name: str
    output: tuple[int, int, int]
    params: float | None = None
    ops: int | None = None
    note: str = ""


class Cell(NamedTuple):
    """A cell of Table 3.

    `models` is "all" for an ensemble of any number of members.
    """

    models: int | Literal["all"]
    crops: int


class Claim(NamedTuple):
    """A claim of the paper that a study can judge.

    Its `kind` is `error` (a published error), `gain` (a published difference to
    `base`), `order` (members make fewer errors than with `base`'s crops) or `ensemble`
    (an ensemble makes fewer errors than its mean member).
    """

    id: str
    text: str
    kind: Literal["error", "gain", "order", "ensemble"]
    cell: Cell
    base: Cell | None = None
    published: float | None = None
    tolerance: float | None = None
    reason: str | None = None


PublishedId = Literal["R7", "R8"]


class Neighbour(NamedTuple):
    """The result of others with a related network, or with published weights.

    It is never a target of this project. A study that measures the same weights can
    judge one that has an `id`. `weights_digest` recognises the file of these weights:
    "sha1:" or "sha256:", and the first digits.
    """

    name: str
    source: str
    split: str
    crops: int
    top1_error: float
    top5_error: float
    tolerance: float
    reason: str
    top5_tolerance: float | None = None  # if it differs from `tolerance`
    # for a training by the same recipe, where that can be judged too
    recipe_tolerance: float | None = None
    recipe_top5_tolerance: float | None = None
    recipe_reason: str = ""
    id: PublishedId | None = None
    weights_digest: str | None = None

    def has_weights(self, sha256: str | None, sha1: str | None) -> bool:
        """Return whether a file with these digests is the neighbour's own."""
        digests = (f"sha256:{sha256}", f"sha1:{sha1}")
        own = self.weights_digest
        return own is not None and any(digest.startswith(own) for digest in digests)


_PUBLISHED = tomllib.loads(resources.files(__package__).joinpath("published.toml").read_text())

DATASET: str = _PUBLISHED["table3"]["dataset"]
SOURCE: str = _PUBLISHED["table3"]["source"]
TABLE1 = TypeAdapter(tuple[PrintedRow, ...]).validate_python(_PUBLISHED["table1"]["rows"])
TABLE3: dict[Cell, float] = {
    Cell(c["models"], c["crops"]): c["top5_error"] for c in _PUBLISHED["table3"]["cells"]
}
TABLE3_VERSUS_BASE: dict[Cell, float] = {
    Cell(c["models"], c["crops"]): c["versus_base"]
    for c in _PUBLISHED["table3"]["cells"]
    if "versus_base" in c
}
CLAIMS = TypeAdapter(tuple[Claim, ...]).validate_python(_PUBLISHED["claim"])
NEIGHBOURS = TypeAdapter(tuple[Neighbour, ...]).validate_python(_PUBLISHED["neighbour"])


def published_error(models: int, policy: str) -> float | None:
    """Return Table 3's top-5 error of so many models under a policy of crops.

    None means that Table 3 has no such cell.

    >>> published_error(7, "crops_144"), published_error(7, "crops_144_max")
    (0.0667, None)
    """
    return TABLE3.get(Cell(models, NUM_CROPS[policy])) if policy in CURVE else None
