"""Models of what the file of a comparison holds."""

from typing import Literal

from pipeline.artefacts.contents import Interval
from pipeline.artefacts.facts import Facts, Sealed

Decision = Literal["baseline", "undecided", "fewer errors", "more errors"]


class BestMember(Facts):
    """The best member of an arm, against the best member of the first arm."""

    member: int
    error: float
    p_value: float


class ArmRow(Facts):
    """An arm of a comparison: its errors, and the difference to those of the first arm.

    The difference is above zero where the arm makes more errors. The first arm has no
    test. `error_interval` and `best` are there where seeds are the sample.
    """

    arm: str
    errors: list[float]
    error: float
    spread: float | None
    difference: float
    decision: Decision
    error_interval: Interval | None = None
    best: BestMember | None = None
    interval_bootstrap: Interval | None = None
    test: str | None = None
    p_value: float | None = None
    interval: Interval | None = None
    seeds_to_decide: int | None = None
    images_to_decide: int | None = None
    p_holm: float | None = None


class ComparisonFacts(Facts):
    """The facts of a comparison: a row for each arm, for top-1 and for top-5 errors."""

    question: str
    models: int
    num_images: int
    policies: list[str]
    num_seeds: int
    decided_on: int
    top1: list[ArmRow]
    top5: list[ArmRow]

    def arms(self, top: int) -> list[ArmRow]:
        """Return the rows of the top-1 or of the top-5 error."""
        return self.top1 if top == 1 else self.top5


class SealedComparison(Sealed, ComparisonFacts):
    """The file comparison.json."""
