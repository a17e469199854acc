"""What a training says of itself: rows of metrics, lines for people, alarms."""

import math
import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.artefacts.run import Run
from pipeline.paper.googlenet import training_loss
from pipeline.paper.published import TABLE3, Cell
from pipeline.runtime.progress import Progress
from pipeline.tracking.tracker import Tracker
from pipeline.training import health
from pipeline.training.loader import Batch

SINGLE_CROP = TABLE3[Cell(1, 1)]  # what validation along the training should come to


class Journal:
    """Keeps the losses of a window of steps, and tells the run's files, the tracker and the screen about it.

    Times: `seconds` counts from the first attempt on; of a window's time, `data_wait` is the share spent waiting for images.
    """

    def __init__(self, run: Run, labels: np.ndarray, num_classes: int, writes: bool):
        config = run.config
        self.run, self._writes = run, writes
        self.outputs = ("main", *config.network.aux_heads)
        self._images_per_epoch = len(labels)
        self._guessing = health.guessing_loss(labels, num_classes, config.class_balance, config.label_smoothing)
        per_epoch = len(labels) / config.global_batch_size
        self._patience = health.patience(config.warmup_epochs * per_epoch, per_epoch)
        self._losses: list[Tensor] = []
        self._dead: list[str] = []
        self._starved = False
        self._waited = 0.0
        self.note = ""

    def begin(self, first_step: int, saved: dict[str, Any], progress: Progress, tracker: Tracker) -> None:
        """From `first_step` on, as the `state` of an earlier attempt says, if there was one."""
        self._progress, self._tracker = progress, tracker
        self._started = time.monotonic() - saved.get("seconds", 0.0)
        self._losses = list(saved.get("losses", []))
        self._window = (first_step, self.seconds())

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold, so that a window which an end cut in two is logged as if there had been none."""
        return {"seconds": self.seconds(), "losses": [losses.cpu() for losses in self._losses]}

    def seconds(self) -> float:
        """Of training, over all attempts."""
        seconds: float = time.monotonic() - self._started
        return round(seconds, 2)

    def epoch_at(self, step: int) -> float:
        """The epochs done after `step` steps."""
        return float(step * self.run.config.global_batch_size / self._images_per_epoch)

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The batches, with the time spent waiting for them counted. The first does not count: loaders have to start."""
        iterator = iter(batches)
        if (first := next(iterator, None)) is not None:
            self._window = (self._window[0], self.seconds())
            yield first
        while True:
            asked = time.monotonic()
            batch = next(iterator, None)
            self._waited += time.monotonic() - asked
            if batch is None:
                return
            yield batch

    def add(self, losses: Tensor) -> None:
        """The losses of a step's outputs, mean of the ranks; they stay on the device, so that nothing waits for them."""
        self._losses.append(losses)

    def is_sound(self) -> bool:
        """Whether the last step's losses are numbers."""
        return not self._losses or bool(self._losses[-1].isfinite().all())

    def close_window(self, step: int, rate: float) -> list[list[float]] | None:
        """Log the mean losses of the window that ends at `step`; if one is no number, return all, by step and output."""
        by_step: list[list[float]] = torch.stack([losses.cpu() for losses in self._losses]).tolist()
        self._losses.clear()
        if not all(math.isfinite(loss) for losses in by_step for loss in losses):
            return by_step
        means = [sum(column) / len(by_step) for column in zip(*by_step, strict=True)]
        loss = float(training_loss(torch.tensor(means, dtype=torch.float64), self.run.config.aux_weight))
        first, began = self._window
        took = max(self.seconds() - began, 0.01)
        speed = (step - first) * self.run.config.global_batch_size / took
        wait, self._waited = min(1.0, self._waited / took), 0.0
        self._window = (step, self.seconds())
        self.note = f"loss {loss:.3f}, {speed:.0f} images/s"
        self._raise_alarms(step, means, wait)
        row = {"loss": loss, **{f"loss_{name}": mean for name, mean in zip(self.outputs, means, strict=True)}}
        row |= {"learning_rate": rate, "images_per_second": round(speed, 2), "data_wait": round(wait, 4)}
        self.record(step, row | {"memory_gb": round(_memory_gb(), 3), "dead_outputs": len(self._dead)})
        return None

    def record(self, step: int, row: dict[str, float]) -> None:
        """One row of metrics.jsonl and of the tracker."""
        if self._writes:
            placed = {"epoch": round(self.epoch_at(step), 4), "seconds": self.seconds(), **row}
            self.run.log({"step": step, **placed})
            if (error := row.get("val_top5_error_averaged")) is not None:
                placed |= {"published_top5_error": SINGLE_CROP, "gap_to_published": error - SINGLE_CROP}
            self._tracker.log({"trainer/step": step, **placed})

    def say(self, text: str) -> None:
        """A line on the screen, of this run."""
        self._progress.say(f"train {self.run.config.hash[:8]}: {text}")

    def say_validated(self, step: int, errors: dict[str, float]) -> None:
        """A line with the errors of the averaged weights."""
        top1, top5 = (f"val top-{k} error {100 * errors[f'top{k}_error_averaged']:.1f} %" for k in (1, 5))
        epoch = f"epoch {self.epoch_at(step):.1f} of {self.run.config.num_epochs:g}"
        self.say(", ".join(part for part in (epoch, f"{self.seconds():.0f} s", self.note, top1, top5) if part))

    def _raise_alarms(self, step: int, means: Sequence[float], wait: float) -> None:
        """Say when an output learns nothing, and when the network waits for images; once, until that is over."""
        dead = health.dead_outputs(self.outputs, means, self._guessing) if step >= self._patience else []
        for name in dead:
            if name not in self._dead:
                loss = means[self.outputs.index(name)]
                self.say(
                    f"output {name} learns nothing: its loss at step {step} is {loss:.3f}, a guess gives {self._guessing:.3f}; "
                    "see learning_rate, init, warmup_epochs, clip_norm"
                )
        self._dead = dead
        starved = wait > health.WAITING
        if starved and not self._starved:
            self.say(
                f"the loader is the bottleneck: {100 * wait:.0f} % of the time until step {step} went into waiting for images"
            )
        self._starved = starved


def _memory_gb() -> float:
    """The most memory held so far: of the GPU, or else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
