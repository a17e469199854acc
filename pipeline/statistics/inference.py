"""Intervals and paired tests of classification errors.

See section 7 of the paper, and section 4 of PAPER.md.
"""

from typing import NamedTuple

import numpy as np
import scipy  # its submodules are imported at their first use

from pipeline.statistics.levels import RESAMPLES, SIGNIFICANCE

# ours: BLAS shares longer products among threads, which wait for each other, and then
# the cores of a machine would decide on the last bits
AT_ONCE = 8192


class Interval(NamedTuple):
    """Bounds of a 95 % confidence interval."""

    low: float
    high: float


def wilson(errors: int, total: int) -> Interval:
    """Return Wilson's 95 % interval of an error rate.

    >>> [round(100 * bound, 3) for bound in wilson(3335, 50_000)]
    [6.455, 6.892]
    """
    low, high = scipy.stats.binomtest(errors, total).proportion_ci(0.95, method="wilson")
    return Interval(float(low), float(high))


def mcnemar(errors: np.ndarray, others: np.ndarray) -> float:
    """Return the p-value of McNemar's exact test on the same images, two-sided.

    Its null hypothesis is "the two make the same number of errors".

    >>> mcnemar(np.array([True] * 5), np.array([False] * 5))
    0.0625
    """
    only_one = int((errors & ~others).sum())
    only_other = int((~errors & others).sum())
    discordant = only_one + only_other
    return float(scipy.stats.binomtest(only_one, discordant).pvalue) if discordant else 1.0


def sign_flip(differences: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> float:
    """Return the p-value of a paired permutation test, two-sided.

    Its null hypothesis is "the mean of the per-image differences is zero". It replaces
    McNemar's test where differences are not only -1, 0 and 1, as those to the mean of
    several members. Under the null hypothesis each difference has either sign with
    equal chance; one binomial draw flips all images of one magnitude. The p-value is
    never below `P_FLOOR`.

    >>> round(sign_flip(np.array([1.0] * 5)), 2)  # exactly 2 / 32
    0.06
    """
    magnitudes, counts = np.unique(
        np.abs(differences[differences != 0]).round(9), return_counts=True
    )
    positive = np.random.default_rng(seed).binomial(counts, 0.5, size=(resamples, len(counts)))
    null = np.abs((2 * positive - counts) @ magnitudes)
    as_extreme = int((null >= abs(float(differences.sum())) - 1e-6).sum())
    return (1 + as_extreme) / (1 + resamples)


def holm(p_values: list[float]) -> list[float]:
    """Return p-values that hold for a whole table, by Holm's correction.

    They have the order of the input.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    corrected, highest = [0.0] * len(p_values), 0.0
    for number, k in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - number) * p_values[k]))
        corrected[k] = highest
    return corrected


def holm_levels(p_values: list[float]) -> list[float]:
    """Return the level at which Holm's correction tests each p-value.

    It is 5 % over the number of p-values that are no smaller.

    >>> holm_levels([0.01, 0.04, 0.03])
    [0.016666666666666666, 0.05, 0.025]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    levels = [SIGNIFICANCE] * len(p_values)
    for number, k in enumerate(order):
        levels[k] = SIGNIFICANCE / (len(p_values) - number)
    return levels


def across_seeds(differences: np.ndarray) -> tuple[float, Interval]:
    """Return the p-value of Student's t over seeds, and the 95 % interval of the mean.

    There is one difference for each seed. The null hypothesis is "their mean is zero";
    the test is two-sided. It covers other seeds, for these images. Without any spread
    the test says nothing: the p-value is 1, and the interval has all differences.

    Raises:
        ValueError: there are fewer than two seeds.

    >>> p_value, (low, high) = across_seeds(np.array([0.01, 0.02, 0.03]))
    >>> round(p_value, 4), round(low, 4), round(high, 4)
    (0.0742, -0.0048, 0.0448)
    """
    if len(differences) < 2:
        raise ValueError("one seed says nothing of others")
    if np.ptp(differences) < 1e-12:
        return 1.0, Interval(-1.0, 1.0)
    test = scipy.stats.ttest_1samp(differences, 0.0)
    low, high = test.confidence_interval(0.95)
    return float(test.pvalue), Interval(float(low), float(high))


def bootstrap_interval(
    differences_SN: np.ndarray, seed: int = 0, resamples: int = 10_000
) -> Interval:
    """Return the 95 % bootstrap interval of a mean of differences, by percentiles.

    Each resample draws seeds and images; all seeds share the images. With few seeds the
    interval is too narrow, like any bootstrap. `across_seeds` decides; this interval
    shows how much the images add.
    """
    rng = np.random.default_rng(seed)
    seeds, images = differences_SN.shape
    weights_RS = rng.multinomial(seeds, [1 / seeds] * seeds, size=resamples) / seeds
    means = np.empty(resamples)
    for k in range(resamples):
        drawn_N = rng.integers(images, size=images)
        counts_N = np.bincount(drawn_N, minlength=images).astype(float)
        sums_S = sum(
            differences_SN[:, start : start + AT_ONCE] @ counts_N[start : start + AT_ONCE]
            for start in range(0, images, AT_ONCE)
        )
        means[k] = weights_RS[k] @ sums_S / images
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(low), float(high))


def paired_interval(differences: np.ndarray) -> Interval:
    """Return the 95 % interval of the mean of per-image differences.

    It is the normal approximation, from the paired standard error.
    """
    half = (
        1.959964 * float(differences.std(ddof=1)) / len(differences) ** 0.5
        if len(differences) > 1
        else 1.0
    )
    mean = float(differences.mean())
    return Interval(mean - half, mean + half)
