"""Checkpoints of a training: when it saves, and what.

A checkpoint holds the learner, the metrics log, and the digest of the data.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Self, cast

from torch import Tensor

from pipeline.artefacts import checkpoints
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.run import Run
from pipeline.errors import InputError
from pipeline.runtime.signals import EndNotice
from pipeline.tracking.tracker import Tracker
from pipeline.training.cadence import Cadence
from pipeline.training.learner import Learner
from pipeline.training.metrics_log import MetricsLog
from pipeline.training.snapshot import snapshot
from pipeline.training.state import TrainingState

Losses = list[Tensor]


class Checkpointing:
    """Saves the checkpoints of one training, on the first rank.

    It saves at the steps or seconds of the config, at a new lowest error, and before an
    end. The state is copied between two steps, and a thread writes the copy while the
    training goes on. There is one copy at most: a save waits for the one before it. The
    end of the block waits for the last one.
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
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._saving: tuple[int, Future[Losses]] | None = None

    def after(self, number: int, error: float | None, notice: EndNotice, tracker: Tracker) -> None:
        """Save after a settled step if that is due, and send W&B the rows so far.

        Then obey a signal that asked to end. `error` is the error of a validation.

        Raises:
            TrainingDiverged: a loss was not a finite number at the save before.
            OSError: the save before failed, such as on a full disk.
        """
        if self._saving and self._saving[1].done():
            self.wait(tracker)
        if number == self._cadence.num_steps or not (
            self._is_due(number) or self.is_lowest(error) or notice.signal
        ):
            return
        self.wait(tracker)
        state: TrainingState = {
            "step": number,
            "world_size": self._learner.accelerator.num_processes,
            "learner": self._learner.state(),
            "journal": self._log.state(),
            "data_digest": self._data.manifest.digest,
        }
        taken, is_taken = snapshot(state, self._learner.accelerator.device)
        self._saving = number, self._thread.submit(self._save, taken, is_taken, error)
        self._saved_at = time.monotonic()
        if error is not None:
            self._lowest = min(self._lowest, error)
        if notice.signal:
            self.wait(tracker)
            self._log.say(f"{notice.signal.name}: saved after step {number}")
            tracker.preempt()  # before the job is requeued, which soon kills this process
            notice.obey()

    def wait(self, tracker: Tracker) -> None:
        """Wait until the last checkpoint outlives a power cut, and send W&B its rows.

        Raises:
            TrainingDiverged, OSError: as `after`.
        """
        if self._saving is None:
            return
        (number, saving), self._saving = self._saving, None
        if losses := saving.result():
            self._log.refuse_divergence(number, losses)
        tracker.send(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def _save(
        self, state: TrainingState, is_taken: Callable[[], object], error: float | None
    ) -> Losses:
        """Save a copy; or return its losses, if the last one is not a finite number."""
        is_taken()
        losses = state["journal"]["losses"]
        if losses and not losses[-1].isfinite().all():
            return losses
        self._run.save_checkpoint(state["step"], state, error)
        return []

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
