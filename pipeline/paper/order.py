"""The order of the training images in each epoch, as a pure function."""

import numpy as np


def epoch_order(
    labels: np.ndarray, seed: int, epoch: int, class_balance: float = 0.0
) -> np.ndarray:
    """Return the images of one epoch in order, as indices.

    With `class_balance` 0 the order is a permutation of all images. Above 0 it has as
    many draws with replacement: the chance of an image is proportional to the size of
    its class to the power of -`class_balance`. At 1 all classes are equally likely.
    """
    rng = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    if class_balance == 0.0:
        return rng.permutation(len(labels))
    weights = np.bincount(labels)[labels].astype(np.float64) ** -class_balance
    return rng.choice(len(labels), size=len(labels), p=weights / weights.sum())
