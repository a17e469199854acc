"""What is due at which step of a training. Pure: steps count from 1, and no clock is
asked.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.configs.train import TrainConfig
from pipeline.paper import schedule

WINDOW = 20  # ours: steps a row of metrics


class Step(NamedTuple):
    """One optimiser step: its number, its learning rate, whether the weights enter the
    average after it, and whether all ranks hold the same weights then (always, but for
    local SGD between two averagings).
    """

    number: int
    rate: float
    averages: bool = True
    settles: bool = True


@dataclass(frozen=True)
class Cadence:
    """The steps of a training of so many images."""

    config: TrainConfig
    num_images: int

    @property
    def num_steps(self) -> int:
        """Steps in all."""
        return schedule.total_steps(
            self.num_images, self.config.num_epochs, self.config.global_batch_size
        )

    def epoch_at(self, number: int) -> float:
        """The epochs done after so many steps."""
        return float(number * self.config.global_batch_size / self.num_images)

    def step(self, number: int) -> Step:
        """What a step is like."""
        config, epoch = self.config, self.epoch_at(number)
        rate = schedule.learning_rate(
            config.learning_rate,
            config.schedule,
            # Caffe's first step has the full rate, and its last not quite none
            self.epoch_at(number - 1) if config.schedule == "poly" else epoch,
            config.num_epochs,
            config.warmup_epochs,
            config.poly_power,
        )
        settles = number % self.config.settles_every == 0 or number == self.num_steps
        return Step(number, rate, epoch >= config.averaging_start_epoch, settles)

    def closes_window(self, number: int) -> bool:
        """Whether a row of metrics ends with this step."""
        return number % WINDOW == 0 or number == self.num_steps

    def validates_at(self, number: int) -> bool:
        """Whether validation is due after this step: the first settled one behind a
        boundary of epochs, and the last of all.
        """
        if number == self.num_steps:
            return True
        settled_before = (number - 1) // self.config.settles_every * self.config.settles_every
        return number % self.config.settles_every == 0 and self._validations(
            number
        ) > self._validations(settled_before)

    def saves_at(self, number: int) -> bool:
        """Whether a checkpoint is due after this step, whatever the clock says."""
        every = self.config.checkpoint_every_steps
        return every is not None and number % every == 0

    def _validations(self, number: int) -> int:
        return math.floor(self.epoch_at(number) / self.config.validate_every_epochs + 1e-9)
