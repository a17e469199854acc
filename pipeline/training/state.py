"""The contents of a training's checkpoint, by the names in its file (state.pt)."""

from typing import Any, TypedDict

from torch import Tensor


class Journal(TypedDict):
    """The metrics log: seconds of training, and the losses of the window so far."""

    seconds: float
    losses: list[Tensor]


class TrainingState(TypedDict):
    """The whole checkpoint. `learner` holds state dicts of torch."""

    step: int
    world_size: int
    learner: dict[str, Any]
    journal: Journal
    data_digest: str
