"""Is a training well? Pure judgements on its losses and its time."""

import math
from collections.abc import Sequence

import numpy as np

GUESSING = 0.99  # ours: a loss above this share of a guesser's is a guesser's
# ours: a fresh network guesses for a while; at least this long, and at least an epoch
PATIENCE_STEPS = 500
WAITING = 0.2  # ours: the share of time spent on images from which the loader is the bottleneck


def guessing_loss(
    labels: np.ndarray, num_classes: int, class_balance: float = 0.0, label_smoothing: float = 0.0
) -> float:
    """The least mean cross entropy of outputs that do not look at the image: the
    entropy of the sampled labels.

    >>> guessing_loss(np.arange(1000), 1000) == math.log(1000)
    True
    """
    counts = np.bincount(labels, minlength=num_classes).astype(np.float64)
    # an image's chance is counts ** -class_balance
    weights = np.where(counts > 0, counts ** (1 - class_balance), 0.0)
    shares = (1 - label_smoothing) * weights / weights.sum() + label_smoothing / num_classes
    return -math.fsum(share * math.log(share) for share in shares if share > 0)


def patience(warmup_steps: float, steps_per_epoch: float) -> float:
    """The step from which a network should have learned something."""
    return warmup_steps + max(PATIENCE_STEPS, steps_per_epoch)


def dead_outputs(names: Sequence[str], losses: Sequence[float], guessing: float) -> list[str]:
    """The outputs whose mean loss is a guesser's: dead units or a rate that is too high
    or too low (Caffe#1598).

    >>> dead_outputs(["main", "4a"], [3.0, 6.90], math.log(1000))
    ['4a']
    """
    return [name for name, loss in zip(names, losses, strict=True) if loss > GUESSING * guessing]
