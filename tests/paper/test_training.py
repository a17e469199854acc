"""Schedule, order, patches and averaging."""

import math
from collections import Counter
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.optim.swa_utils import AveragedModel

from pipeline.paper import schedule
from pipeline.paper.augmentation import (
    INTERPOLATIONS,
    Sampling,
    area_and_aspect,
    stream,
    training_distortion,
    training_patch,
)
from pipeline.paper.averaging import equal, exponential
from pipeline.paper.order import epoch_order

DRAWS = 20_000


def test_papers_learning_rate() -> None:
    """T2."""
    rates = [schedule.learning_rate(1.0, "paper", epoch, 250) for epoch in (7, 8, 248)]
    assert rates == pytest.approx([1.0, 0.96, 0.96**31], rel=1e-12)


def test_warmup_and_cosine() -> None:
    rates = [
        schedule.learning_rate(0.1, "cosine", epoch, 10, warmup_epochs=2) for epoch in (0, 1, 10)
    ]
    assert rates == pytest.approx([0.0, 0.05 * 0.5 * (1 + math.cos(math.pi / 10)), 0.0], abs=1e-12)


def test_epoch_order_is_a_function_of_seed_and_epoch() -> None:
    labels = np.arange(50) % 4
    order = epoch_order(labels, 1, 2)
    assert sorted(order) == list(range(50))
    assert np.array_equal(order, epoch_order(labels, 1, 2))
    assert not np.array_equal(order, epoch_order(labels, 1, 3))
    assert not np.array_equal(order, epoch_order(labels, 2, 2))


def test_class_balance_evens_out_classes() -> None:
    labels = np.repeat([0, 1], [9000, 1000])
    shares = [np.mean(labels[epoch_order(labels, 0, 0, balance)]) for balance in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.1, 0.25, 0.5], abs=0.02)


def test_caffes_quick_rate() -> None:
    """T3: in steps of 2.4 million, at 1.8 million."""
    assert schedule.learning_rate(0.01, "poly", 60 * 1.8 / 2.4, 60) == pytest.approx(
        0.005, rel=1e-12
    )


def test_area_and_aspect() -> None:
    """T4, T5: area uniform on 8 to 100 % before the fit test, aspect within 3/4 and
    4/3.
    """
    rng = stream("T4")
    areas, aspects = np.array([area_and_aspect(rng) for _ in range(DRAWS)]).T
    assert stats.kstest(areas, stats.uniform(0.08, 0.92).cdf).pvalue > 1e-3
    assert areas.mean() == pytest.approx(0.54, abs=0.01)
    assert areas.std() == pytest.approx(0.2656, abs=0.005)
    assert 3 / 4 <= aspects.min() < 0.76
    assert 1.32 < aspects.max() <= 4 / 3
    for k in range(2000):
        patch = training_patch(stream("T5", k), 500, 375)
        assert (patch.width - 1) / (patch.height + 1) <= 4 / 3
        assert (patch.width + 1) / (patch.height - 1) >= 3 / 4


def test_interpolations_are_equally_likely() -> None:
    """T6; mirrored and plain patches are equally likely too."""
    patches = [training_patch(stream("T6", k), 500, 375) for k in range(DRAWS)]
    kinds = Counter(patch.interpolation for patch in patches)
    assert set(kinds) == set(INTERPOLATIONS)
    assert stats.chisquare(list(kinds.values())).pvalue > 1e-3
    assert stats.binomtest(sum(patch.mirrored for patch in patches), DRAWS).pvalue > 1e-3


def test_enhancements() -> None:
    """T7: factors within 0.5 and 1.5, the six orders equally likely."""
    drawn = [training_distortion(stream("T7", k)).enhancements for k in range(DRAWS)]
    factors = np.array([[factor for _, factor in enhancements] for enhancements in drawn])
    assert 0.5 <= factors.min() < 0.51
    assert 1.49 < factors.max() <= 1.5
    orders = Counter(tuple(name for name, _ in enhancements) for enhancements in drawn)
    assert len(orders) == 6
    assert stats.chisquare(list(orders.values())).pvalue > 1e-3


def test_lighting_noise() -> None:
    """T8: deviation of each channel, RGB in [0, 1]."""
    shifts = np.array([training_distortion(stream("T8", k)).shift for k in range(DRAWS)])
    assert shifts.std(axis=0) == pytest.approx([0.01242, 0.01264, 0.01276], rel=0.03)
    assert shifts.mean(axis=0) == pytest.approx([0, 0, 0], abs=5e-4)


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(),
    st.sampled_from(get_args(Sampling)),
)
def test_patches_lie_inside(width: int, height: int, seed: int, sampling: Sampling) -> None:
    patch = training_patch(stream(seed), width, height, sampling=sampling)
    width, height = (patch.warped, patch.warped) if patch.warped else (width, height)
    assert 0 <= patch.left <= width - patch.width < width
    assert 0 <= patch.top <= height - patch.height < height
    assert patch.interpolation in INTERPOLATIONS


@given(st.integers(), st.integers(0, 500), st.integers(0, 10**7))
def test_patches_are_stateless(seed: int, epoch: int, index: int) -> None:
    patch, again = (training_patch(stream("patch", seed, epoch, index), 500, 375) for _ in range(2))
    assert patch == again


def test_averaging_follows_its_recursion() -> None:
    """T9: the average equals the recursion computed apart; the raw weights are
    untouched.
    """
    layer = torch.nn.Linear(1, 1, bias=False)
    decaying, mean = (
        AveragedModel(layer, multi_avg_fn=update) for update in (exponential(0.9), equal())
    )
    layer.weight.data.fill_(-3.0)  # forgotten at the first update, which copies
    expected, values = 1.0, [1.0, 5.0, -2.0, 7.0]
    for t, value in enumerate(values):
        layer.weight.data.fill_(value)
        for average in (decaying, mean):
            average.update_parameters(layer)
        d = min(0.9, (1 + t) / (10 + t))
        expected = d * expected + (1 - d) * value
        assert layer.weight.item() == value
    assert decaying.module.get_parameter("weight").item() == pytest.approx(expected, rel=1e-6)
    assert mean.module.get_parameter("weight").item() == pytest.approx(np.mean(values), rel=1e-6)
