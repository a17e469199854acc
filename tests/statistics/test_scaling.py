"""The model of a step finds the constants that made the measurements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.statistics.scaling import StepModel, StepTime, fit

SECONDS = st.floats(1e-4, 10.0)
MODELS = st.builds(StepModel, SECONDS, SECONDS, SECONDS, SECONDS)


@given(MODELS)
def test_the_model_finds_its_own_constants(model: StepModel) -> None:
    times = [
        StepTime(ranks, images, model.seconds(ranks, images))
        for ranks in (1, 2, 4)
        for images in (8, 32)
    ]
    found = fit(times)
    for ranks, images in ((8, 16), (64, 128), (1, 256)):
        assert found.seconds(ranks, images) == pytest.approx(model.seconds(ranks, images), rel=1e-3)


@given(MODELS, st.integers(1, 64), st.integers(1, 512))
def test_more_images_or_ranks_take_no_less(model: StepModel, ranks: int, images: int) -> None:
    here = model.seconds(ranks, images)
    assert model.seconds(ranks + 1, images) >= here
    assert model.seconds(ranks, images + 1) >= here
    assert model.seconds(ranks, images, 4) >= here


def test_what_cannot_be_told_apart_is_zero() -> None:
    """One batch says nothing of a step without images, one number of ranks nothing of a
    hop.
    """
    alone = fit([StepTime(1, 32, 0.5)])
    assert (alone.start, alone.hop, alone.gradient) == (0, 0, 0)
    assert alone.seconds(1, 64) == pytest.approx(1.0)
    two = fit([StepTime(1, 16, 0.3), StepTime(1, 32, 0.5), StepTime(2, 16, 0.4)])
    assert two.hop == 0
    assert two.seconds(2, 16) == pytest.approx(0.4)
