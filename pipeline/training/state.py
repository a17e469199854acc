"""The contents of a training's checkpoint, by the names in its file (state.pt)."""

from typing import Any, NotRequired, TypedDict

from torch import Tensor

from pipeline.artefacts.metrics_file import Mark


class Journal(TypedDict):
    """The metrics log: seconds of training, the losses of the window so far, and the
    mark of metrics.jsonl.
    """

    seconds: float
    losses: list[Tensor]
    metrics: NotRequired[Mark]  # checkpoints of earlier versions have none


class TrainingState(TypedDict):
    """The whole checkpoint. `learner` holds state dicts of torch."""

    step: int
    world_size: int
    learner: dict[str, Any]
    journal: Journal
    data_digest: str
