"""What a checkpoint of a training holds, by the names in its file (state.pt)."""

from typing import Any, TypedDict

from torch import Tensor


class Journal(TypedDict):
    """Of the metrics log: seconds of training, and the losses of the window so far."""

    seconds: float
    losses: list[Tensor]


class TrainingState(TypedDict):
    """All of it. `learner` holds state dicts of torch."""

    step: int
    world_size: int
    learner: dict[str, Any]
    journal: Journal
    data_digest: str
