"""Whether a training is healthy, judged by its losses and its times."""

import math
from collections.abc import Sequence

import numpy as np

GUESSING = 0.99  # ours: a loss above this share of a guess's loss is a guess's
# ours: a new network guesses for at least this long, and for at least an epoch
PATIENCE_STEPS = 500
WAITING = 0.2  # ours: the loader is the bottleneck above this share of time spent waiting


def guessing_loss(
    labels: np.ndarray, num_classes: int, class_balance: float = 0.0, label_smoothing: float = 0.0
) -> float:
    """Return the lowest mean cross entropy of outputs that do not look at the image.

    It is the entropy of the sampled labels.

    >>> guessing_loss(np.arange(1000), 1000) == math.log(1000)
    True
    """
    counts = np.bincount(labels, minlength=num_classes).astype(np.float64)
    # an image's chance is counts ** -class_balance
    weights = np.where(counts > 0, counts ** (1 - class_balance), 0.0)
    shares = (1 - label_smoothing) * weights / weights.sum() + label_smoothing / num_classes
    return -math.fsum(share * math.log(share) for share in shares if share > 0)


def patience(warmup_steps: float, steps_per_epoch: float) -> float:
    """Return the step by which a network should have learned something."""
    return warmup_steps + max(PATIENCE_STEPS, steps_per_epoch)


def dead_outputs(names: Sequence[str], losses: Sequence[float], guessing: float) -> list[str]:
    """Return the outputs whose mean loss is as high as a guess's.

    Their units are dead, or the learning rate is too high or too low (Caffe#1598).

    >>> dead_outputs(["main", "4a"], [3.0, 6.90], math.log(1000))
    ['4a']
    """
    return [name for name, loss in zip(names, losses, strict=True) if loss > GUESSING * guessing]
