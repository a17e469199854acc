"""Checkpoints of a training: when it saves, and what.

A checkpoint holds the learner, the metrics log, and the digest of the data.
"""

import time
from pathlib import Path
from typing import cast

from pipeline.artefacts import checkpoints
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.run import Run
from pipeline.errors import InputError
from pipeline.runtime.signals import EndNotice
from pipeline.tracking.tracker import Tracker
from pipeline.training.cadence import Cadence
from pipeline.training.learner import Learner
from pipeline.training.metrics_log import MetricsLog
from pipeline.training.state import TrainingState


class Checkpointing:
    """Saves the checkpoints of one training, on the first rank.

    It saves at the steps or seconds of the config, at a new lowest error, and before an
    end.
    """

    def __init__(
        self, run: Run, cadence: Cadence, learner: Learner, log: MetricsLog, data: Dataset
    ):
        self._run, self._cadence, self._learner, self._log, self._data = (
            run,
            cadence,
            learner,
            log,
            data,
        )
        best = run.checkpoints.best()
        lowest = checkpoints.read_note(best).error if best else None
        self._lowest = float("inf") if lowest is None else lowest
        self._saved_at = time.monotonic()

    def after(self, number: int, error: float | None, notice: EndNotice, tracker: Tracker) -> None:
        """Save after a settled step if that is due, and send W&B the rows so far.

        Then obey a signal that asked to end. `error` is the error of a validation.

        Raises:
            TrainingDiverged: a loss is not a finite number.
        """
        if number == self._cadence.num_steps or not (
            self._is_due(number) or self.is_lowest(error) or notice.signal
        ):
            return
        self._log.refuse_divergence(number)
        state: TrainingState = {
            "step": number,
            "world_size": self._learner.accelerator.num_processes,
            "learner": self._learner.state(),
            "journal": self._log.state(),
            "data_digest": self._data.manifest.digest,
        }
        self._run.save_checkpoint(number, state, error)
        tracker.send(number)
        self._saved_at = time.monotonic()
        if error is not None:
            self._lowest = min(self._lowest, error)
        if notice.signal:
            self._log.say(f"{notice.signal.name}: saved after step {number}")
            notice.obey()

    def is_lowest(self, error: float | None) -> bool:
        """Return whether this error is lower than that of every earlier validation."""
        return error is not None and error < self._lowest

    def _is_due(self, number: int) -> bool:
        is_old = time.monotonic() - self._saved_at >= self._run.config.checkpoint_every_seconds
        return is_old or self._cadence.saves_at(number)


def load_state(folder: Path) -> TrainingState:
    """Read a checkpoint of a training, on the CPU."""
    return cast(TrainingState, checkpoints.load(folder))


def load_newest(
    newest: Path | None, run: Run, data: Dataset, learner: Learner
) -> TrainingState | None:
    """Load a checkpoint into the learner, and return it; None where there is none.

    Raises:
        InputError: the checkpoint was trained on other data.
    """
    if newest is None:
        return None
    state = load_state(newest)
    if state["data_digest"] != data.manifest.digest:
        raise InputError(
            f"{newest}: was trained on other data than {data.folder}; remove {run.folder} to begin"
            " anew"
        )
    learner.load(state["learner"])
    return state
