"""Paired tests of two sets of errors on the same images, and their decisions.

See section 7 of the paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pipeline.statistics.inference import (
    Interval,
    across_seeds,
    holm,
    holm_levels,
    mcnemar,
    paired_interval,
    sign_flip,
)
from pipeline.statistics.levels import SIGNIFICANCE
from pipeline.statistics.power import paired_images_to_decide, seeds_to_decide


@dataclass(frozen=True)
class PairedTest:
    """A test of errors against those of a base, on the same images.

    `differences` has a value for each item of the sample, seeds or images; it is below
    zero where there are fewer errors than in the base. `p_value` is two-sided.
    `interval` is the 95 % interval of the mean difference.
    """

    differences: np.ndarray
    sample: Literal["seeds", "images"]
    name: Literal["Student's t", "McNemar", "sign flips"]
    p_value: float
    interval: Interval

    @property
    def difference(self) -> float:
        """The mean difference."""
        return float(self.differences.mean())

    def needed(self, level: float) -> int | None:
        """Return how many seeds or images would decide on a difference as large.

        So many would find it at `level` in four of five studies. None means that no
        number follows.
        """
        if self.sample == "seeds":
            return seeds_to_decide(self.differences, level=level)
        return paired_images_to_decide(self.differences, level=level)


class Decision(NamedTuple):
    """The decision on a test among others.

    `p_holm` is its p-value by Holm's correction, and `level` the level at which that
    correction tests it. `outcome` is the decision at 5 % over both directions.
    """

    p_holm: float
    level: float
    outcome: Literal["fewer errors", "more errors", "undecided"]


def over_seeds(errors_SN: np.ndarray, base_SN: np.ndarray) -> PairedTest:
    """Test errors over seeds (the first axis) by Student's t, for these images.

    Raises:
        ValueError: there is only one seed.
    """
    differences = errors_SN.mean(axis=1) - base_SN.mean(axis=1)
    p_value, interval = across_seeds(differences)
    return PairedTest(differences, "seeds", "Student's t", p_value, interval)


def over_images(errors_N: np.ndarray, base_N: np.ndarray) -> PairedTest:
    """Test errors over images, for these networks only.

    The test is McNemar's exact one where each image is an error or none. It is sign
    flips where one side is the mean of several networks.

    >>> over_images(np.array([False] * 5), np.array([True] * 5)).p_value
    0.0625
    """
    differences = errors_N.astype(float) - base_N
    if errors_N.dtype == base_N.dtype == np.bool_:
        return PairedTest(
            differences,
            "images",
            "McNemar",
            mcnemar(errors_N, base_N),
            paired_interval(differences),
        )
    return PairedTest(
        differences, "images", "sign flips", sign_flip(differences), paired_interval(differences)
    )


def of_members(errors_SN: np.ndarray, base_SN: np.ndarray) -> PairedTest:
    """Test members under two treatments: over seeds, or a single one over images."""
    if len(errors_SN) > 1:
        return over_seeds(errors_SN, base_SN)
    return over_images(errors_SN[0], base_SN[0])


def decide(tests: Sequence[PairedTest]) -> list[Decision]:
    """Return the decision on each of a study's tests.

    Of studies in which nothing differs, at most 5 % decide anything, in either
    direction.

    >>> five = over_images(np.array([False] * 6), np.array([True] * 6))
    >>> decide([five])[0].outcome, decide([five, five])[0].outcome
    ('fewer errors', 'undecided')
    """
    p_values = [test.p_value for test in tests]
    rows = zip(tests, holm(p_values), holm_levels(p_values), strict=True)
    return [
        Decision(
            p_holm,
            level,
            "undecided"
            if p_holm >= SIGNIFICANCE
            else "fewer errors"
            if test.difference < 0
            else "more errors",
        )
        for test, p_holm, level in rows
    ]
