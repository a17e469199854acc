"""The rows of a report's tables and charts.

Errors are shares in the rows of tables, and per cent in the rows of charts.
"""

from typing import Any

from pydantic import Field

from pipeline.artefacts.comparison_facts import ArmRow, Decision
from pipeline.artefacts.contents import Interval
from pipeline.artefacts.facts import Facts


class Cell(Facts):
    """A row of Table 3; `difference` and `p_value` are against the first row."""

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
    """The mean and the range of the error (%) over all ensembles of a size."""

    crops: str
    models: int
    ensembles: int
    error: float
    low: float
    high: float


class CurvePoint(Facts):
    """A validation during a training: the error (%) of one kind of weights."""

    epoch: float
    error: float
    member: str
    weights: str


class Telemetry(Facts):
    """A row of a training's log: its loss, its rate, its speed.

    `data_wait` is the share (%) of the time that the training waited for images.
    """

    member: str
    epoch: float
    loss: float
    learning_rate: float
    images_per_second: float
    data_wait: float


class CropPoint(Facts):
    """The error (%) at a number of crops; the paper's has no interval."""

    crops: int
    models: str
    error: float
    low: float | None = None
    high: float | None = None


class ForestLine(Facts):
    """An arm's difference to the first arm, in points, with its interval."""

    arm: str
    decision: Decision
    difference: float
    low: float
    high: float


class AblationRow(Facts):
    """An arm of an ablation, judged on the error `top`.

    Its plain values are those of the arm, without a level between.
    """

    question: str
    top: int
    arm: ArmRow

    def plain(self) -> dict[str, Any]:
        return {"question": self.question, "top": self.top, **self.arm.plain()}


class ClaimRow(Facts):
    """What a claim rests on: hashes of results, commits, commands, and their cost."""

    claim: str
    results: str
    commit: str
    commands: list[str]
    core_or_gpu_hours: float


class ClassRow(Facts):
    """The errors of a class.

    Its images are taken most often for the class `taken_for`, so many `times`.
    `top5_error` is there where it is the deciding error.
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
