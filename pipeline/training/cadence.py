"""What is due at each step of a training.

Steps count from 1. No function reads a clock.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.configs.train import TrainConfig
from pipeline.paper import schedule

WINDOW = 20  # ours: fewest steps a row of metrics; as often the losses are looked at
MOST_ROWS = 20_000  # ours: a few MB; W&B and a report read all rows of a training


class Step(NamedTuple):
    """One optimiser step: its number and its learning rate.

    `averages`: the weights enter the average after this step. `settles`: all ranks hold
    the same weights after this step; only local SGD has steps that do not settle.
    `shares`: a checkpoint or a row of metrics may need the mean of the losses so far.
    """

    number: int
    rate: float
    averages: bool = True
    settles: bool = True
    shares: bool = True


@dataclass(frozen=True)
class Cadence:
    """The steps of a training with `num_images` images."""

    config: TrainConfig
    num_images: int

    @property
    def num_steps(self) -> int:
        """The total number of steps."""
        return schedule.total_steps(
            self.num_images, self.config.num_epochs, self.config.global_batch_size
        )

    @property
    def window(self) -> int:
        """The steps a row of metrics; over 400,000 steps in all make it longer."""
        return WINDOW * max(1, math.ceil(self.num_steps / (WINDOW * MOST_ROWS)))

    def epoch_at(self, number: int) -> float:
        """Return the epochs done after `number` steps."""
        return float(number * self.config.global_batch_size / self.num_images)

    def step(self, number: int) -> Step:
        """Return the step of this number."""
        config, epoch = self.config, self.epoch_at(number)
        rate = schedule.learning_rate(
            config.learning_rate,
            config.schedule,
            # Caffe's first step has the full learning rate, its last almost none
            self.epoch_at(number - 1) if config.schedule == "poly" else epoch,
            config.num_epochs,
            config.warmup_epochs,
            config.poly_power,
            config.decay_factor,
            config.decay_epochs,
        )
        settles = number % self.config.settles_every == 0 or number == self.num_steps
        shares = settles or self.closes_window(number) or self.checks_at(number)
        return Step(number, rate, epoch >= config.averaging_start_epoch, settles, shares)

    def closes_window(self, number: int) -> bool:
        """Return whether a row of metrics ends with this step."""
        return number % self.window == 0 or number == self.num_steps

    def checks_at(self, number: int) -> bool:
        """Return whether the losses are looked at after this step: are they finite?

        A window may be long, and a training that diverged should not go on.
        """
        return number % WINDOW == 0

    def validates_at(self, number: int) -> bool:
        """Return whether validation is due after this step.

        It is due after the first settled step behind a boundary of epochs, and after
        the last step.
        """
        if number == self.num_steps:
            return True
        settled_before = (number - 1) // self.config.settles_every * self.config.settles_every
        return number % self.config.settles_every == 0 and self._validations(
            number
        ) > self._validations(settled_before)

    def saves_at(self, number: int) -> bool:
        """Return whether the number of steps makes a checkpoint due after this step."""
        every = self.config.checkpoint_every_steps
        return every is not None and number % every == 0

    def _validations(self, number: int) -> int:
        return math.floor(self.epoch_at(number) / self.config.validate_every_epochs + 1e-9)
