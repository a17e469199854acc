"""A learning-rate range test (Smith, 1506.01186): the learning rate grows at every
step until the loss diverges.
"""

import json
import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from pipeline.artefacts.dataset import Dataset
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.paper.googlenet import training_loss
from pipeline.runtime import environment, process_group
from pipeline.runtime.progress import Progress
from pipeline.stages.train import said_in_a_line
from pipeline.training.cadence import Step
from pipeline.training.learner import Learner
from pipeline.training.loader import training_batches

LOWEST, HIGHEST = 1e-5, 10.0  # ours
MEMORY = 0.9  # ours: of the running mean of the losses
DIVERGED = 2.0  # ours: a loss of so many times the lowest diverges
MARGIN = 4.0  # ours: the lowest loss is the edge; the suggestion is so many times smaller


class RateTest(NamedTuple):
    """The running mean of the loss at each learning rate.

    `diverged_at` is None where the highest rate did not diverge.
    """

    rates: list[float]
    losses: list[float]
    diverged_at: float | None

    @property
    def suggested(self) -> float:
        """A base learning rate with a margin to the edge.

        The first means do not count, as they are over too few losses.
        """
        settled = self.losses[min(round(1 / (1 - MEMORY)), len(self.losses) - 1) :]
        return self.rates[self.losses.index(min(settled))] / MARGIN

    def text(self) -> str:
        """Return a table for people, of some twenty lines."""
        every = max(1, len(self.rates) // 20)
        rows = [
            f"{rate:12.2e}  {loss:8.4f}"
            for rate, loss in list(zip(self.rates, self.losses, strict=True))[::every]
        ]
        end = (
            "no divergence up to the highest rate"
            if self.diverged_at is None
            else f"diverges at {self.diverged_at:.2g}"
        )
        return "\n".join(
            [
                "        rate      loss",
                *rows,
                f"{end}; a learning_rate to try: {self.suggested:.2g}",
            ]
        )

    def as_json(self) -> str:
        """Return all figures as JSON."""
        return json.dumps({**self._asdict(), "suggested": self.suggested}, indent=1)


def find_rate(config: TrainConfig, root: Path, num_steps: int) -> RateTest:
    """Train from the initial weights for at most `num_steps` steps on this process
    alone; write nothing.

    Raises:
        InputError: the data set is not prepared, a variable of the environment
            contradicts the config, an image is damaged, or the first loss is no number.
    """
    data = Dataset(config.data, root)
    accelerator = process_group.join(config.precision)
    learner = Learner(config.but(local_sgd=None), data.num_classes, accelerator)
    rates = [LOWEST * (HIGHEST / LOWEST) ** (k / max(1, num_steps - 1)) for k in range(num_steps)]
    workers = environment.cores_per_rank() - 1
    batches = training_batches(
        config,
        data.split("train"),
        range(num_steps),
        0,
        1,
        workers,
        accelerator.device.type == "cuda",
    )
    losses: list[float] = []
    with (
        closing(batches),
        Progress("find-rate", num_steps, "steps") as progress,
        said_in_a_line(config, root),
    ):
        for step, (rate, batch) in enumerate(zip(rates, batches, strict=True), start=1):
            losses.append(
                float(
                    training_loss(
                        learner.step(Step(step, rate, averages=False), batch), config.aux_weight
                    )
                )
            )
            progress.advance(note=f"rate {rate:.2g}, loss {losses[-1]:.3f}")
            smooth = running_mean(losses)
            if not math.isfinite(losses[0]):
                raise InputError(
                    f"the loss is {losses[0]} before anything was learned; see init and precision"
                )
            if not math.isfinite(smooth[-1]) or smooth[-1] > DIVERGED * min(smooth):
                return RateTest(rates[: step - 1], smooth[:-1], rate)
    return RateTest(rates, running_mean(losses), None)


def running_mean(losses: Sequence[float]) -> list[float]:
    """Return the exponentially weighted mean of the losses at each step, without the
    bias of a start at zero.

    >>> running_mean([2.0, 2.0, 2.0])
    [2.0, 2.0, 2.0]
    """
    means, mean = [], 0.0
    for number, loss in enumerate(losses, start=1):
        mean = MEMORY * mean + (1 - MEMORY) * loss
        means.append(round(mean / (1 - MEMORY**number), 12))
    return means
