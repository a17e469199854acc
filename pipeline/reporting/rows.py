"""The rows of a report's tables and charts. Errors are shares, but in per cent in the
rows that are drawn.
"""

from typing import Any

from pydantic import Field

from pipeline.artefacts.contents import ArmRow, Interval
from pipeline.artefacts.facts import Facts


class Cell(Facts):
    """A row of Table 3. `difference` and `p_value` are to the first row."""

    models: int
    policy: str
    crops: str
    published: float | None
    top1_error: float
    top5_error: float
    top1_interval: Interval
    top5_interval: Interval
    difference: float
    p_value: float
    hash: str


class EnsembleSize(Facts):
    """Mean and range of the error (%) over all ensembles of a size."""

    crops: str
    models: int
    ensembles: int
    error: float
    low: float
    high: float


class CurvePoint(Facts):
    """A validation along a training: error (%) of one kind of weights."""

    epoch: float
    error: float
    member: str
    weights: str


class CropPoint(Facts):
    """Error (%) at a number of crops, with its interval."""

    crops: int
    models: str
    error: float
    low: float
    high: float


class ForestLine(Facts):
    """An arm's difference to the first, in points, with its interval."""

    arm: str
    difference: float
    low: float
    high: float


class AblationRow(Facts):
    """An arm of an ablation, judged on the error `top`; flat as plain values."""

    question: str
    top: int
    arm: ArmRow

    def plain(self) -> dict[str, Any]:
        return {"question": self.question, "top": self.top, **self.arm.plain()}


class ClaimRow(Facts):
    """The evidence of a claim: hashes of results, commits, commands, and the cost."""

    claim: str
    results: str
    commit: str
    commands: list[str]
    core_or_gpu_hours: float


class ClassRow(Facts):
    """The errors of a class. `taken_for` is its most frequent wrong guess, made `times`
    times. `top5_error` is there where that error decides.
    """

    name: str = Field(serialization_alias="class")
    images: int
    top1_error: float
    top5_error: float | None = None
    taken_for: str
    times: int


class Confusion(Facts):
    """How many images of one class are taken for another."""

    label: str
    taken_for: str
    images: int
