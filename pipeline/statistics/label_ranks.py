"""Where the true label ranks among the scores of an image.

This file needs only numpy, as every process of a training imports it.
"""

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
