"""Schedule, order, patches and averaging."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.swa_utils import AveragedModel

from pipeline.paper import schedule
from pipeline.paper.augmentation import INTERPOLATIONS, stream, training_patch
from pipeline.paper.averaging import exponential


def test_papers_learning_rate() -> None:
    """T2."""
    rates = [schedule.learning_rate(1.0, "paper", epoch, 250) for epoch in (7, 8, 248)]
    assert rates == pytest.approx([1.0, 0.96, 0.96**31], rel=1e-12)


def test_warmup_and_cosine() -> None:
    rates = [schedule.learning_rate(0.1, "cosine", epoch, 10, warmup_epochs=2) for epoch in (0, 1, 10)]
    assert rates == pytest.approx([0.0, 0.05 * 0.5 * (1 + math.cos(math.pi / 10)), 0.0], abs=1e-12)


def test_epoch_order_is_a_function_of_seed_and_epoch() -> None:
    labels = np.arange(50) % 4
    order = schedule.epoch_order(labels, 1, 2)
    assert sorted(order) == list(range(50))
    assert np.array_equal(order, schedule.epoch_order(labels, 1, 2))
    assert not np.array_equal(order, schedule.epoch_order(labels, 1, 3))
    assert not np.array_equal(order, schedule.epoch_order(labels, 2, 2))


def test_class_balance_evens_out_classes() -> None:
    labels = np.repeat([0, 1], [9000, 1000])
    shares = [np.mean(labels[schedule.epoch_order(labels, 0, 0, balance)]) for balance in (0.0, 0.5, 1.0)]
    assert shares == pytest.approx([0.1, 0.25, 0.5], abs=0.02)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers())
def test_patches_lie_inside(width: int, height: int, seed: int) -> None:
    patch = training_patch(stream(seed), width, height)
    assert 0 <= patch.left <= width - patch.width < width
    assert 0 <= patch.top <= height - patch.height < height
    assert patch.interpolation in INTERPOLATIONS


@given(st.integers(), st.integers(0, 500), st.integers(0, 10**7))
def test_patches_are_stateless(seed: int, epoch: int, index: int) -> None:
    patch, again = (training_patch(stream("patch", seed, epoch, index), 500, 375) for _ in range(2))
    assert patch == again


def test_averaging_follows_its_recursion() -> None:
    """T9: the average equals the recursion computed apart; the raw weights are untouched."""
    layer = torch.nn.Linear(1, 1, bias=False)
    average = AveragedModel(layer, multi_avg_fn=exponential(0.9))
    expected = None
    for t, value in enumerate([1.0, 5.0, -2.0, 7.0]):
        layer.weight.data.fill_(value)
        average.update_parameters(layer)
        d = min(0.9, (1 + t) / (10 + t))
        expected = value if expected is None else d * expected + (1 - d) * value
        assert layer.weight.item() == value
    assert average.module.get_parameter("weight").item() == pytest.approx(expected, rel=1e-6)
