"""The order of the training images, epoch by epoch. A pure function."""

import numpy as np


def epoch_order(
    labels: np.ndarray, seed: int, epoch: int, class_balance: float = 0.0
) -> np.ndarray:
    """The images of one epoch in order, as indices: a function of its arguments alone.

    With `class_balance` 0 a permutation of all images; above, as many draws with
    replacement, an image's chance being proportional to the size of its class to the
    power of -`class_balance` (1: all classes equally likely).
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    if class_balance == 0.0:
        return rng.permutation(len(labels))
    weights = np.bincount(labels)[labels].astype(np.float64) ** -class_balance
    return rng.choice(len(labels), size=len(labels), p=weights / weights.sum())
