"""Whether a classifier does better than a guesser that sees no image."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import scipy  # its submodules are imported at their first use

from pipeline.statistics.label_ranks import rank_of_label
from pipeline.statistics.levels import GUESSING, HARDLY

TOPS = (1, 5)
IMAGES_AT_ONCE = 1024  # ours: bounds the memory of sorting


class Chance(NamedTuple):
    """The number of hits among the `top` first guesses, beside that of a guesser.

    `expected` is the number of hits if the same guesses were dealt out to the images at
    random. `p_value` is one-sided, for "the classifier only guesses".
    """

    top: int
    hits: int
    images: int
    expected: float
    p_value: float


class Sliceable(Protocol):
    """Scores, images x classes, of which slices are taken: an array, or a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of images, and of classes."""

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """Return the scores of some images."""


def against_chance(scores_NC: Sliceable, labels_N: np.ndarray) -> tuple[Chance, ...]:
    """Test the hits among the first guess, and among the first five, against guessing.

    The tests are binomial. A guesser's chance of a hit is a sum over classes: the share
    of the labels times the share of the guesses. It is 1 / classes where either is
    even. Where all images are taken for one class, it is the share of that class. Rows
    of NaN are misses.

    >>> labels = np.array([0, 1, 2, 3] * 5)
    >>> (first, _) = against_chance(np.eye(4)[labels], labels)
    >>> first.hits, first.expected, first.p_value < 1e-9
    (20, 5.0, True)
    >>> constant = np.tile([0.7, 0.2, 0.1], (30, 1))
    >>> (first, _) = against_chance(constant, np.array([0] * 20 + [1] * 10))
    >>> first.hits, first.expected, round(first.p_value, 2)
    (20, 20.0, 0.58)
    """
    guesses = Guesses(scores_NC.shape[1])
    for start in range(0, len(labels_N), IMAGES_AT_ONCE):
        rows = slice(start, start + IMAGES_AT_ONCE)
        guesses.add(scores_NC[rows], labels_N[rows])
    return guesses.against_chance()


class Guesses:
    """Counts of labels, of first guesses and of hits, of images that come in blocks."""

    def __init__(self, num_classes: int):
        self._num_classes = num_classes
        self._labelled_C = np.zeros(num_classes, np.int64)
        self._guessed_TC = np.zeros((len(TOPS), num_classes), np.int64)
        self._hits_T = [0] * len(TOPS)

    def add(self, scores_NC: np.ndarray, labels_N: np.ndarray) -> None:
        """Count some images."""
        count = self._num_classes
        rank_N = rank_of_label(scores_NC, labels_N)
        self._labelled_C += np.bincount(labels_N, minlength=count)
        usable = scores_NC[~np.isnan(scores_NC).any(axis=1)]
        for k, top in enumerate(TOPS):
            least = max(0, count - top)
            first = np.argpartition(usable, min(least, count - 1), axis=1)[:, least:]
            self._guessed_TC[k] += np.bincount(first.ravel(), minlength=count)
            self._hits_T[k] += int((rank_N < top).sum())

    def against_chance(self) -> tuple[Chance, ...]:
        """Return the tests of all images (see the function of this name)."""
        count = int(self._labelled_C.sum())
        labelled_C = self._labelled_C / count
        chances = []
        for top, guessed_C, hits in zip(TOPS, self._guessed_TC, self._hits_T, strict=True):
            share = min(1.0, float((guessed_C / count) @ labelled_C))
            test = scipy.stats.binomtest(hits, count, share, alternative="greater")
            chances.append(Chance(top, hits, count, share * count, float(test.pvalue)))
        return tuple(chances)


def may_be_guessing(chances: Sequence[Chance]) -> bool:
    """Return whether a classifier may only guess.

    It may if neither its first guess nor its first five are better than guessing, or
    so little better that an accident explains it. An example is a wrong order of the
    classes: some have the right place by accident, and all their images are right.
    """
    return bool(chances) and all(
        chance.p_value > GUESSING or chance.hits - chance.expected < HARDLY * chance.images
        for chance in chances
    )
