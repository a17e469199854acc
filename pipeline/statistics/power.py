"""The power of tests: how many images or seeds decide on a difference."""

import math
from bisect import bisect_left

import numpy as np
import scipy  # its submodules are imported at their first use

from pipeline.statistics.levels import MAX_SEEDS, POWER, SIGNIFICANCE


def images_to_decide(error: float, other: float, power: float = 0.5) -> int:
    """Return how many images in each of two samples tell two error rates apart.

    The samples are unpaired, and the test is two-sided at the 5 % level. The variance
    is pooled under the null hypothesis, separate under the alternative.

    >>> [images_to_decide(0.0789, 0.0667, power) for power in (0.5, 0.8, 0.9)]
    [3485, 7118, 9529]
    """
    mean = (error + other) / 2
    pooled, separate = 2 * mean * (1 - mean), error * (1 - error) + other * (1 - other)
    z = (
        scipy.stats.norm.ppf(1 - SIGNIFICANCE / 2) * pooled**0.5
        + scipy.stats.norm.ppf(power) * separate**0.5
    )
    return math.ceil(float(z / (error - other)) ** 2)


def paired_images_to_decide(
    differences_N: np.ndarray, power: float = POWER, level: float = SIGNIFICANCE
) -> int | None:
    """Return how many images decide on such per-image differences.

    The test is two-sided at `level`. None means that the mean difference is zero. For
    errors of two results (-1, 0, 1) this is the sample size of McNemar's test
    (PAPER.md, section 4). Under the null hypothesis the variance is the share of
    discordant images; under the alternative the squared mean is subtracted. The number
    uses the normal distribution, so it is too small where fewer than some ten images
    differ.

    >>> # 2 % of the images differ, 1.22 points apart
    >>> discordant = np.array([1] * 161 + [-1] * 39 + [0] * 9800)
    >>> [paired_images_to_decide(discordant, power) for power in (0.5, 0.8)]
    [517, 1053]
    """
    mean, square = float(differences_N.mean()), float((differences_N**2).mean())
    if abs(mean) < 1e-12:
        return None
    z = (
        scipy.stats.norm.ppf(1 - level / 2) * square**0.5
        + scipy.stats.norm.ppf(power) * max(0.0, square - mean**2) ** 0.5
    )
    return math.ceil(float(z / mean) ** 2)


def seeds_to_decide(
    differences_S: np.ndarray, power: float = POWER, level: float = SIGNIFICANCE
) -> int | None:
    """Return with how many seeds Student's paired test finds a mean as large as this.

    The test is two-sided at `level`, and other seeds vary as these do. None means that
    the mean is zero, that there are fewer than two seeds, that they do not vary, or
    that the number is above 10,000.

    >>> seeds_to_decide(np.array([0.01, 0.02, 0.03]))
    5
    """
    if (
        len(differences_S) < 2
        or np.ptp(differences_S) < 1e-12
        or abs(float(differences_S.mean())) < 1e-12
    ):
        return None
    effect = abs(float(differences_S.mean())) / float(differences_S.std(ddof=1))
    numbers = range(2, MAX_SEEDS + 1)  # the power grows with the number
    place = bisect_left(numbers, power, key=lambda seeds: power_of_t(effect, seeds, level))
    return numbers[place] if place < len(numbers) else None


def power_of_t(effect: float, seeds: int, level: float = SIGNIFICANCE) -> float:
    """Return the chance that Student's test finds a mean of `effect` deviations.

    The test is over so many seeds, two-sided at `level`; `effect` is in standard
    deviations.

    >>> [round(power_of_t(1.0, seeds), 3) for seeds in (2, 10)]
    [0.093, 0.803]
    """
    critical, shifted = scipy.stats.t.ppf(1 - level / 2, seeds - 1), effect * seeds**0.5
    # scipy returns NaN where this is nearly zero
    wrong_side = np.nan_to_num(scipy.stats.nct.cdf(-critical, seeds - 1, shifted))
    return float(scipy.stats.nct.sf(critical, seeds - 1, shifted) + wrong_side)
