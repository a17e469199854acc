"""What a learning-rate range test makes of the losses that it saw."""

import math
import random

import pytest

from pipeline.tools.find_rate import judge

RATES = [1e-5 * 10 ** (k / 5) for k in range(31)]


def noisy(seed: int, losses: list[float], batches: int = 4) -> list[float]:
    """Return the losses of steps around those of rates."""
    rng = random.Random(seed)
    return [loss + rng.gauss(0, 0.05) for loss in losses for _ in range(batches)]


@pytest.mark.parametrize("seed", range(20))
def test_no_advice_where_the_loss_never_fell(seed: int) -> None:
    test = judge(RATES, noisy(seed, [2.3] * len(RATES)), 4)
    assert test.suggested is None
    assert "no learning_rate is suggested; more --batches" in test.text()
    assert '"suggested": null' in test.as_json()


@pytest.mark.parametrize("seed", range(20))
def test_the_lowest_loss_is_the_edge(seed: int) -> None:
    """It falls from a rate of 1e-3 on, and rises from 0.1 on."""
    levels = [2.3 - 0.3 * max(0.0, min(2, math.log10(rate) + 3)) for rate in RATES]
    levels = [
        loss + 2 * max(0.0, math.log10(rate) + 1) for loss, rate in zip(levels, RATES, strict=True)
    ]
    test = judge(RATES, noisy(seed, levels), 4)
    assert test.suggested is not None
    assert 0.1 / 4 / 2.6 < test.suggested < 0.1 / 4 * 2.6  # two rates beside


def test_a_loss_that_is_no_number_ends_it() -> None:
    """Also in the midst of a rate, which then does not count."""
    test = judge(RATES, [2.0] * 8 + [1.9, math.nan], 4)
    assert (test.rates, test.diverged_at) == (RATES[:2], RATES[2])


def test_a_rates_loss_is_the_mean_of_its_batches() -> None:
    assert judge(RATES, [1.0, 3.0, 2.0, 2.0], 4).losses == [2.0]
