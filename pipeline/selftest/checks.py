"""Run the checks of a group, one after the other: a check that fails ends no other."""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

from pipeline.artefacts.selftest_facts import CheckFacts, Figure, Outcome
from pipeline.configs.selftest import SelftestConfig
from pipeline.errors import Bug, first_line
from pipeline.runtime.environment import num_cores


class NotRun(Exception):
    """A check that cannot be run here; the message says why."""


@dataclass
class Bench:
    """Where checks run: the config, the ranks, a folder for scratch, and the end.

    `kept` has what one check computed and another compares.
    """

    config: SelftestConfig
    folder: Path
    ends_at: float  # by time.monotonic, which all processes of a machine share
    accelerator: Accelerator | None = None
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def ranks(self) -> Accelerator:
        """The ranks that this process is one of."""
        if self.accelerator is None:
            raise RuntimeError("this check runs outside the ranks")
        return self.accelerator

    @property
    def device(self) -> torch.device:
        """The device that is tested."""
        device: torch.device = self.ranks.device
        return device

    @property
    def seconds_left(self) -> float:
        """The seconds until no check begins."""
        return self.ends_at - time.monotonic()

    def needs(self, seconds: float) -> None:
        """Raise NotRun if fewer seconds than these are left."""
        if self.seconds_left < 0:
            raise NotRun(f"{self.config.minutes:g} minutes were over")
        if self.seconds_left < seconds:
            raise NotRun(
                f"needs some {seconds:.0f} s, and {self.seconds_left:.0f} s are left of"
                f" {self.config.minutes:g} minutes"
            )


class Check(NamedTuple):
    """A check: what it compares, in words, and the function that yields its figures."""

    name: str
    text: str
    measure: Callable[[Bench], Iterable[Figure]]


def run(group: str, check: Check, bench: Bench) -> CheckFacts:
    """Run a check. Its error is its outcome, and its traceback goes to the screen."""
    started = time.perf_counter()
    figures: list[Figure] = []
    outcome: Outcome = "passed"
    why = ""
    try:
        bench.needs(0)
        figures.extend(check.measure(bench))
        if not figures:
            raise RuntimeError("the check measured nothing")
        if misses := [figure for figure in figures if not figure.passes]:
            outcome = "failed"
            why = "; ".join(
                f"{figure.what}: {figure.value:.3g}, at most {figure.most:.3g}"
                for figure in misses
                if figure.most is not None
            )
    except NotRun as reason:
        outcome, why = "not run", str(reason)
    except Exception as error:
        traceback.print_exc()
        outcome = "failed"
        why = error.last_line if isinstance(error, Bug) else first_line(error)
    return CheckFacts(
        group=group,
        name=check.name,
        text=check.text,
        outcome=outcome,
        figures=figures,
        why=why,
        seconds=round(time.perf_counter() - started, 2),
    )


def failure(group: str, check: Check, why: str) -> CheckFacts:
    """Return the outcome of a check whose process ended before it."""
    return CheckFacts(
        group=group, name=check.name, text=check.text, outcome="failed", figures=[], why=why
    )


@contextmanager
def plain_cpu() -> Iterator[torch.device]:
    """Compute the reference within the block: torch on all cores, at least two.

    With several threads no operator of ours takes part (models/operators.py).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(2, num_cores()))
    try:
        yield torch.device("cpu")
    finally:
        torch.set_num_threads(before)


def relative(value: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the largest difference over the reference's largest value."""
    exact = reference.double().cpu()
    return float((value.double().cpu() - exact).abs().max() / exact.abs().max())


def distance(values: Iterable[torch.Tensor], references: Iterable[torch.Tensor]) -> float:
    """Return the length of all tensors' difference over the references' length."""
    pairs = [(a.double().cpu(), b.double().cpu()) for a, b in zip(values, references, strict=True)]
    squares = sum(float((a - b).square().sum()) for a, b in pairs)
    length = sum(float(b.square().sum()) for _, b in pairs)
    return float((squares / length) ** 0.5)
