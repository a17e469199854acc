"""A learning-rate range test (Smith, 1506.01186): the learning rate grows at every
step until the loss diverges.
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from pipeline.artefacts.dataset import Dataset
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.paper.googlenet import training_loss
from pipeline.runtime import environment, process_group
from pipeline.runtime.device import refuse_decoding_without_gpu
from pipeline.runtime.progress import Progress
from pipeline.stages.train import said_in_a_line
from pipeline.training.cadence import Step
from pipeline.training.learner import Learner
from pipeline.training.loader import training_batches

LOWEST, HIGHEST = 1e-5, 10.0  # ours
MEMORY = 0.6  # ours: of the running mean over rates; each rate's loss is a mean already
DIVERGED = 2.0  # ours: a loss of so many times the lowest diverges
MARGIN = 4.0  # ours: the lowest loss is the edge; the suggestion is so many times smaller
# ours: below it nothing is learned in a few steps; losses differ by chance alone
STILL = 1e-4
FELL = 4.0  # ours: a fall of so many deviations is none by chance, among some 30 means


class RateTest(NamedTuple):
    """The running mean of the loss at each learning rate.

    `noise` is the deviation of a rate's mean loss where nothing is learned.
    `diverged_at` is None where the highest rate did not diverge.
    """

    rates: list[float]
    losses: list[float]
    diverged_at: float | None
    noise: float = 0.0

    @property
    def suggested(self) -> float | None:
        """A base learning rate with a margin to the edge; None where the loss never
        fell by more than its noise.
        """
        if not self.losses or min(self.losses) >= self.losses[0] - FELL * self.noise:
            return None
        return self.rates[self.losses.index(min(self.losses))] / MARGIN

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
        advice = (
            "the loss never fell by more than its noise, so no learning_rate is suggested; more"
            " --batches or --steps may show one"
            if self.suggested is None
            else f"a learning_rate to try: {self.suggested:.2g}"
        )
        return "\n".join(["        rate      loss", *rows, f"{end}; {advice}"])

    def as_json(self) -> str:
        """Return all figures as JSON."""
        return json.dumps({**self._asdict(), "suggested": self.suggested}, indent=1)


def find_rate(config: TrainConfig, root: Path, num_rates: int, num_batches: int = 4) -> RateTest:
    """Train from the initial weights, at each rate for `num_batches` steps, on this
    process alone; write nothing.

    It ends where the loss diverges.

    Raises:
        InputError: the data set is not prepared, a variable of the environment
            contradicts the config, an image is damaged, or the first loss is no number.
    """
    data = Dataset(config.data, root)
    accelerator = process_group.join(config.precision)
    refuse_decoding_without_gpu(config.patches.decode_on, accelerator.device.type)
    learner = Learner(config.but(local_sgd=None), data.num_classes, accelerator)
    rates = [LOWEST * (HIGHEST / LOWEST) ** (k / max(1, num_rates - 1)) for k in range(num_rates)]
    num_steps = num_rates * num_batches
    batches = training_batches(
        config,
        data.split("train"),
        range(num_steps),
        0,
        1,
        environment.cores_per_rank() - 1,
        accelerator.device,
    )
    losses: list[float] = []
    with (
        closing(batches),
        Progress("find-rate", num_steps, "steps") as progress,
        said_in_a_line(config, root),
    ):
        for number, batch in enumerate(batches):
            step = Step(number + 1, rates[number // num_batches], averages=False)
            losses.append(float(training_loss(learner.step(step, batch), config.aux_weight)))
            progress.advance(note=f"rate {step.rate:.2g}, loss {losses[-1]:.3f}")
            if not math.isfinite(losses[0]):
                raise InputError(
                    f"the loss is {losses[0]} before anything was learned; see init and precision"
                )
            test = judge(rates, losses, num_batches)
            if test.diverged_at is not None:
                return test
    return judge(rates, losses, num_batches)


def _batched(losses: Sequence[float], size: int) -> Iterator[Sequence[float]]:
    for start in range(0, len(losses), size):
        yield losses[start : start + size]


def judge(rates: list[float], losses: list[float], num_batches: int) -> RateTest:
    """Return the test after some steps, as far as it is known.

    A rate counts once all its batches are done, and the next one if its loss diverges.
    `losses` are those of the steps in order, `num_batches` at each rate.
    """
    means = running_mean(
        [fmean(each) for each in _batched(losses, num_batches) if len(each) == num_batches]
    )
    still = [
        loss
        for k, loss in enumerate(losses)
        if math.isfinite(loss) and rates[k // num_batches] <= STILL
    ]
    noise = stdev(still) / math.sqrt(num_batches) if len(still) > 1 else 0.0
    done = rates[: len(means)]
    lowest = min(means, default=losses[0])
    if not math.isfinite(losses[-1]) or (means and means[-1] > DIVERGED * lowest):
        at = rates[(len(losses) - 1) // num_batches]
        kept = [k for k, rate in enumerate(done) if rate < at]
        return RateTest(done[: len(kept)], means[: len(kept)], at, noise)
    return RateTest(done, means, None, noise)


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
