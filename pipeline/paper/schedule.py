"""Learning rates as pure functions of the progress of training."""

import math
from collections.abc import Callable

# paper, section 6: "decreasing the learning rate by 4% every 8 epochs"
DECAY, DECAY_EPOCHS = 0.96, 8


def paper_factor(epoch: float, num_epochs: float) -> float:
    """Return 0.96 ** (number of complete periods of 8 epochs) (paper, section 6).

    >>> [round(paper_factor(e, 250), 5) for e in (7, 8, 248)]
    [1.0, 0.96, 0.2821]
    """
    return step_factor(epoch, DECAY, DECAY_EPOCHS)


def step_factor(epoch: float, factor: float, epochs: float) -> float:
    """Return a power of `factor`: the number of complete periods of `epochs`.

    >>> step_factor(5, 0.94, 2) == 0.94**2
    True
    """
    return factor ** math.floor(epoch / epochs)


def cosine_factor(epoch: float, num_epochs: float) -> float:
    """Return half a cosine from 1 to 0 (`ours`: short trainings must end low)."""
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, epoch / num_epochs)))


def poly_factor(epoch: float, num_epochs: float, power: float = 0.5) -> float:
    """Return a power of the share of epochs to come, as Caffe's `poly` does.

    Caffe's quick_solver has power 0.5.

    >>> 0.01 * poly_factor(45, 60)
    0.005
    """
    return float(max(0.0, 1.0 - epoch / num_epochs) ** power)


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "paper": paper_factor,
    "cosine": cosine_factor,
}


def learning_rate(
    base: float,
    schedule: str,
    epoch: float,
    num_epochs: float,
    warmup_epochs: float = 0.0,
    poly_power: float = 0.5,
    decay_factor: float = DECAY,
    decay_epochs: float = DECAY_EPOCHS,
) -> float:
    """Return the learning rate at a fractional epoch: warm-up times schedule.

    The warm-up is linear.
    """
    warmup = min(1.0, epoch / warmup_epochs) if warmup_epochs else 1.0
    if schedule == "poly":
        return base * warmup * poly_factor(epoch, num_epochs, poly_power)
    if schedule == "exponential":
        return base * warmup * step_factor(epoch, decay_factor, decay_epochs)
    return base * warmup * SCHEDULES[schedule](epoch, num_epochs)


def total_steps(num_images: int, num_epochs: float, global_batch_size: int) -> int:
    """Return the number of optimiser steps of a training.

    A step may hold images of two epochs, so no image is dropped.
    """
    return max(1, round(num_images * num_epochs / global_batch_size))
