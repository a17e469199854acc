"""Images become chunks while others are computed; each counts once."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.artefacts.contents import EvaluationFacts
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.publisher import Publisher
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import StageFailed
from pipeline.stages.prepare import prepare
from tests.sealed import seal

FACTS = EvaluationFacts(num_images=9, world_size=1, device="cpu", num_rejected=0)
SCORES = np.random.default_rng(0).dirichlet(np.ones(3), 9).astype(np.float32)


@pytest.fixture
def predictions(tmp_path: Path, data: PrepareConfig, run_config: TrainConfig) -> Predictions:
    prepare(data, tmp_path, processes=1)
    seal(run_config, tmp_path)
    config = EvaluateConfig(data=data, classifier=run_config, policies=("crops_1",))
    return Predictions(config, tmp_path)


def publish(predictions: Predictions, *images: int, least: int = 100) -> None:
    with Publisher(predictions, 3, least, "drawn", {}) as publisher:
        for index in images:
            if index == 7:
                publisher.add((index, {}, "not an image"))
            else:
                publisher.add((index, {"crops_1": SCORES[index]}, ""))


def merged(predictions: Predictions) -> np.ndarray:
    names = [str(k) for k in range(9)]
    bad = predictions.merge(predictions.chunks(), names, np.arange(9) % 3, FACTS)
    assert bad == {"7": "not an image"}
    return predictions.probabilities("crops_1")


def test_images_of_two_attempts_count_once(predictions: Predictions) -> None:
    """A lost attempt was still alive: its chunks overlap those of the next one. A chunk
    has no gap.
    """
    publish(predictions, 0, 1, 2, 3, 6, 7)
    assert predictions.chunks() == [range(4), range(6, 8)]
    assert predictions.missing(range(1, 9)) == [4, 5, 8]
    publish(predictions, 2, 3, 4, 5)
    with pytest.raises(StageFailed, match="the chunks hold 8 of 9 images; the same command"):
        merged(predictions)
    publish(predictions, 8)
    expected = SCORES.copy()
    expected[7] = np.nan
    assert np.array_equal(merged(predictions), expected, equal_nan=True)


def test_images_are_saved_while_others_come(predictions: Predictions) -> None:
    """However they are grouped, all are saved; each chunk but the last has enough."""
    publish(predictions, *range(9), least=2)
    chunks = predictions.chunks()
    assert [index for chunk in chunks for index in chunk] == list(range(9))
    assert all(len(chunk) >= 2 for chunk in chunks[:-1])
    assert np.array_equal(merged(predictions)[:7], SCORES[:7])


def test_an_error_of_a_save_is_raised(predictions: Predictions) -> None:
    bad = {"crops_1": np.full(3, np.nan, np.float32)}
    with (
        pytest.raises(StageFailed, match="are not finite"),
        Publisher(predictions, 3, 1, "drawn", {}) as publisher,
    ):
        publisher.add((0, bad, ""))
    assert not predictions.chunks()


def test_nothing_is_saved_once_another_attempt_is_done(predictions: Predictions) -> None:
    publish(predictions, *range(9))
    merged(predictions)
    with Publisher(predictions, 3, 1, "drawn", {}) as publisher:
        publisher.add((0, {"crops_1": SCORES[0]}, ""))
    assert publisher.is_over
    assert not predictions.chunks()
