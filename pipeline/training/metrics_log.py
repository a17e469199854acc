"""The metrics log of a training: rows of metrics, lines for people, alarms."""

import math
import resource
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NoReturn

import torch
from torch import Tensor

from pipeline.artefacts.contents import Validation
from pipeline.artefacts.dataset import Split
from pipeline.artefacts.metrics import columns_of
from pipeline.artefacts.run import Run
from pipeline.errors import TrainingDiverged
from pipeline.paper.googlenet import training_loss
from pipeline.runtime.progress import Progress
from pipeline.training import health
from pipeline.training.cadence import Cadence
from pipeline.training.loader import Batch, keys
from pipeline.training.state import Journal, TrainingState


class MetricsLog:
    """Keeps the losses of a window of steps, and reports them.

    Reports go to the run's files and to the screen. `seconds` counts from the first
    attempt. `data_wait` is the share of a window's time spent waiting for images.
    """

    def __init__(self, run: Run, cadence: Cadence, images: Split, num_classes: int, writes: bool):
        config = run.config
        self.run, self._cadence, self._images, self._writes = run, cadence, images, writes
        self.outputs = config.outputs
        self._guessing = health.guessing_loss(
            images.labels, num_classes, config.class_balance, config.label_smoothing
        )
        per_epoch = len(images) / config.global_batch_size
        self._patience = health.patience(config.warmup_epochs * per_epoch, per_epoch)
        self._losses: list[Tensor] = []
        self._dead: list[str] = []
        self._is_starved = False
        self._waited = 0.0
        self.note = ""

    def begin(self, checkpoint: TrainingState | None, world_size: int, progress: Progress) -> None:
        """Begin, or resume from a checkpoint."""
        self._progress = progress
        self._started = time.monotonic()
        self._window = (0, 0.0)
        if checkpoint is None:
            return
        self._started -= checkpoint["journal"]["seconds"]
        self._losses = list(checkpoint["journal"]["losses"])
        self._window = (checkpoint["step"], self.seconds())
        self.say(f"resumes at step {checkpoint['step']} of {self._cadence.num_steps}")
        if checkpoint["world_size"] != world_size:
            self.say(
                f"{checkpoint['world_size']} ranks became {world_size}: sums are rounded otherwise"
                " from here on"
            )

    def state(self) -> Journal:
        """Return what a checkpoint must hold of the log.

        With it, a window that an end cuts in two is logged as if it had no end inside.
        """
        return {
            "seconds": self.seconds(),
            "losses": self._losses,
            "metrics": self.run.mark_metrics(),
        }

    def seconds(self) -> float:
        """Return the seconds of training, over all attempts."""
        seconds: float = time.monotonic() - self._started
        return round(seconds, 2)

    def timed(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches, and count the time spent waiting for them.

        The wait for the first batch does not count, because loaders have to start.
        """
        iterator = iter(batches)
        if (first := next(iterator, None)) is not None:
            self._window = (self._window[0], self.seconds())
            yield first
        while True:
            wait_start = time.monotonic()
            batch = next(iterator, None)
            self._waited += time.monotonic() - wait_start
            if batch is None:
                return
            yield batch

    def add(self, losses: Tensor) -> None:
        """Add the losses of a step's outputs, the mean over the ranks.

        They stay on the device, so that nothing waits for them.
        """
        self._losses.append(losses)

    def refuse_divergence(self, step: int, losses: Sequence[Tensor] | None = None) -> None:
        """Raise TrainingDiverged if a loss of the window so far is not finite.

        `losses` are those of the window until a save, where the window went on.
        """
        losses = self._losses if losses is None else losses
        if losses and not _are_finite(by_step := _by_step(losses)):
            self._end_diverged(step, by_step)

    def close_window(self, step: int, rate: float) -> None:
        """Log the mean losses of the window that ends at `step`.

        Raises:
            TrainingDiverged: a loss is not a finite number.
        """
        by_step = _by_step(self._losses)
        self._losses.clear()
        if not _are_finite(by_step):
            self._end_diverged(step, by_step)
        means = [sum(column) / len(by_step) for column in zip(*by_step, strict=True)]
        loss = float(
            training_loss(torch.tensor(means, dtype=torch.float64), self.run.config.aux_weight)
        )
        first, start = self._window
        duration = max(self.seconds() - start, 0.01)
        speed = (step - first) * self.run.config.global_batch_size / duration
        wait, self._waited = min(1.0, self._waited / duration), 0.0
        self._window = (step, self.seconds())
        self.note = f"loss {loss:.3f}, {speed:.0f} images/s"
        self._raise_alarms(step, means, wait)
        row = {
            "loss": loss,
            **{f"loss_{name}": mean for name, mean in zip(self.outputs, means, strict=True)},
        }
        row |= {
            "learning_rate": rate,
            "images_per_second": round(speed, 2),
            "data_wait": round(wait, 4),
        }
        self.record(
            step, row | {"memory_gb": round(_memory_gb(), 3), "dead_outputs": len(self._dead)}
        )

    def record(self, step: int, row: dict[str, float]) -> None:
        """Write one row of metrics.jsonl."""
        if self._writes:
            columns = {
                "epoch": round(self._cadence.epoch_at(step), 4),
                "seconds": self.seconds(),
                **row,
            }
            self.run.log({"step": step, **columns})

    def say(self, text: str) -> None:
        """Print a line about this run on the screen."""
        self._progress.say(f"train {self.run.config.hash[:8]}: {text}")

    def record_validation(self, step: int, errors: Validation) -> None:
        """Write a row with the errors of a validation.

        Print a line with the errors of the averaged weights.
        """
        self.record(step, columns_of(errors))
        top1, top5 = (
            f"val top-{k} error {100 * errors.error(k, 'averaged'):.1f} %" for k in (1, 5)
        )
        total = self.run.config.num_epochs  # the last step may lie a little beyond it
        epoch = f"epoch {min(self._cadence.epoch_at(step), total):.1f} of {total:g}"
        self.say(
            ", ".join(
                part for part in (epoch, f"{self.seconds():.0f} s", self.note, top1, top5) if part
            )
        )

    def _end_diverged(self, step: int, losses: list[list[float]]) -> NoReturn:
        """Raise TrainingDiverged for the window that ends at `step`.

        A loss in it is not a finite number; a file records what is known.
        """
        wrong = next(k for k, row in enumerate(losses) if not all(map(math.isfinite, row)))
        first = step - len(losses) + 1 + wrong
        if self._writes:
            (batch,) = keys(self.run.config, self._images.labels, range(first - 1, first), 0, 1)
            names = [self._images.image_ids[index] for _, index in batch]
            report = {
                "step": first,
                "losses": [str(loss) for loss in losses[wrong]],
                "losses_before": losses[:wrong],
            }
            self.run.write_postmortem({**report, "images": names})
        raise TrainingDiverged(
            f"{self.run.folder}: loss is {sum(losses[wrong])} at step {first}; lower learning_rate,"
            f" or set a lower clip_norm; {self.run.postmortem_path.name} names the images of that"
            " step"
        )

    def _raise_alarms(self, step: int, means: Sequence[float], wait: float) -> None:
        """Say once that an output learns nothing or that the network waits for images.

        An alarm that is over can be raised again.
        """
        dead = (
            health.dead_outputs(self.outputs, means, self._guessing)
            if step >= self._patience
            else []
        )
        for name in dead:
            if name not in self._dead:
                loss = means[self.outputs.index(name)]
                self.say(
                    f"output {name} learns nothing: its loss at step {step} is {loss:.3f}, a guess"
                    f" gives {self._guessing:.3f}; see learning_rate, init, warmup_epochs,"
                    " clip_norm"
                )
        self._dead = dead
        is_starved = wait > health.WAITING
        if is_starved and not self._is_starved:
            self.say(
                f"the loader is the bottleneck: {100 * wait:.0f} % of the time until step {step}"
                " went into waiting for images"
            )
        self._is_starved = is_starved


def _by_step(losses: Sequence[Tensor]) -> list[list[float]]:
    """Return losses by step and output; this waits for the device, once."""
    device = losses[-1].device  # those of a checkpoint are on the CPU
    by_step: list[list[float]] = torch.stack([each.to(device) for each in losses]).tolist()
    return by_step


def _are_finite(by_step: Sequence[Sequence[float]]) -> bool:
    return all(math.isfinite(loss) for losses in by_step for loss in losses)


def _memory_gb() -> float:
    """Return the peak memory in GB: of the GPU, or else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
