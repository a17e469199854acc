"""A matrix of scores, written and read by blocks of rows."""

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from pipeline.artefacts.scores import NAME, Scores, blocks, write_scores


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    images=st.integers(1, 40),
    classes=st.integers(1, 9),
    written=st.integers(1, 50),
    read=st.integers(1, 50),
)
def test_any_blocks_are_the_whole(
    tmp_path: Path, images: int, classes: int, written: int, read: int
) -> None:
    """The bytes are those that safetensors itself writes."""
    values = np.random.default_rng(images).random((images, classes), np.float32)
    values[images // 2] = np.nan  # an image that could not be classified
    parts = (values[rows] for rows in blocks(images, written))
    path = write_scores(tmp_path / "scores", values.shape, parts)
    assert path.read_bytes() == save({NAME: values})
    scores = Scores(path)
    assert (len(scores), scores.shape) == (images, (images, classes))
    assert np.array_equal(scores[: images + 9], values, equal_nan=True)
    again = np.concatenate([scores[rows] for rows in blocks(images, read)])
    assert np.array_equal(again, values, equal_nan=True)
