"""benchmarks/<hash>/ of a self-test: its checks, and what each measured."""

from typing import Literal

from pipeline.artefacts.facts import Facts, Sealed

Outcome = Literal["passed", "failed", "not run"]


class Figure(Facts):
    """One figure of a check.

    It may be `most` at most; without `most` it is a measurement, which passes. `reason`
    says where the bound comes from.
    """

    what: str
    value: float
    most: float | None = None
    reason: str = ""

    @property
    def passes(self) -> bool:
        """Whether the figure is within its bound; NaN is not."""
        return self.most is None or self.value <= self.most


class CheckFacts(Facts):
    """The outcome of a check. `why` says why it failed, or why it was not run."""

    group: str
    name: str
    text: str
    outcome: Outcome
    figures: list[Figure]
    why: str = ""
    seconds: float = 0.0


class SelftestFacts(Facts):
    """The results of `selftest`."""

    device: str
    hardware: dict[str, str]
    ranks: int
    input_size: int
    width: float
    minutes: float
    seconds: float
    checks: list[CheckFacts]

    def count(self, outcome: Outcome) -> int:
        """Return how many checks had this outcome."""
        return sum(check.outcome == outcome for check in self.checks)


class SealedSelftest(Sealed, SelftestFacts):
    """The file benchmark.json of `selftest`."""
