"""How the probabilities of an image's crops become one (paper, section 7)."""

import numpy as np

from pipeline.paper.policies import Pooling


def pool(probabilities_KC: np.ndarray, pooling: Pooling = "mean") -> np.ndarray:
    """Return one score for each class from the probabilities of K crops.

    Scores are float32, from sums in float64. Scores of `max` need not sum to 1.

    >>> crops = np.array([[0.9, 0.1], [0.5, 0.5]], np.float32)
    >>> [pool(crops, how).round(3).tolist() for how in ("mean", "max", "geometric")]
    [[0.699999988079071, 0.30000001192092896], [0.8999999761581421, 0.5], [0.75, 0.25]]
    """
    if pooling == "max":
        highest: np.ndarray = probabilities_KC.max(axis=0)
        return highest
    if pooling == "geometric":
        logs = np.log(np.maximum(probabilities_KC, np.finfo(np.float32).tiny)).mean(
            axis=0, dtype=np.float64
        )
        powers: np.ndarray = np.exp(logs - logs.max())
        return np.asarray(powers / powers.sum(), np.float32)
    mean: np.ndarray = probabilities_KC.mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean
