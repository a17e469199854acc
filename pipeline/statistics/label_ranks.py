"""Where the true label ranks among the scores of an image.

This file needs only numpy, as every process of a training imports it.
"""

from collections.abc import Sequence

import numpy as np


def rank_of_label(probabilities_NC: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
    """Return how many classes score above the true one.

    0 is a top-1 hit, and below 5 is a top-5 hit. Ties and NaN count against the true
    class. An image without scores (NaN) is a miss of any kind, also where there are
    fewer than five classes.

    >>> scores = np.array([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [np.nan] * 3])
    >>> rank_of_label(scores, np.array([0, 2, 1]))
    array([0, 2, 5])
    """
    true = probabilities_NC[np.arange(len(labels_N)), labels_N][:, None]
    num_classes = probabilities_NC.shape[1]
    above = num_classes - 1 - np.count_nonzero(probabilities_NC < true, axis=1)
    ranks: np.ndarray = np.where(np.isnan(true[:, 0]), max(num_classes - 1, 5), above)
    return ranks


def rank_of_best_label(
    probabilities_NC: np.ndarray, right_N: Sequence[Sequence[int]]
) -> np.ndarray:
    """Return how many wrong classes score above the best of several right ones.

    So an image is a top-5 hit if any right label is among the five best (Beyer and
    others, 2006.07159, of one label; for more we count alike). With one right label it
    is `rank_of_label`.

    >>> scores = np.array([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [np.nan] * 3])
    >>> rank_of_best_label(scores, [[1, 2], [0, 1], [0]])
    array([1, 0, 5])
    """
    is_right = np.zeros(probabilities_NC.shape, bool)
    for row, labels in enumerate(right_N):
        is_right[row, labels] = True
    best = np.where(is_right, probabilities_NC, -np.inf).max(axis=1)
    above = np.count_nonzero(~is_right & ~(probabilities_NC < best[:, None]), axis=1)
    ranks: np.ndarray = np.where(np.isnan(best), max(probabilities_NC.shape[1] - 1, 5), above)
    return ranks
