"""What is due at each step of a training, at any length."""

import pytest

from pipeline.configs.prepare import ILSVRC2012_IMAGES, PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.training.cadence import MOST_ROWS, Cadence

IMAGES = ILSVRC2012_IMAGES["train"]


@pytest.mark.parametrize(
    ("epochs", "batch", "window"), [(0.01, 32, 20), (9.99, 32, 20), (10, 32, 40), (250, 32, 520)]
)
def test_a_long_training_has_long_windows(epochs: float, batch: int, window: int) -> None:
    """Up to 400,000 steps a row of metrics has 20."""
    data = PrepareConfig(source="digits", name="digits")
    cadence = Cadence(TrainConfig(data=data, num_epochs=epochs, global_batch_size=batch), IMAGES)
    assert cadence.window == window
    ends = [n for n in range(20, cadence.num_steps, 20) if cadence.closes_window(n)]
    assert len(ends) <= MOST_ROWS
    assert ends == list(range(window, cadence.num_steps, window))
    assert cadence.closes_window(cadence.num_steps)
    assert cadence.checks_at(20)
    assert not cadence.checks_at(19)
