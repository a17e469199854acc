"""Every smaller ensemble that the same members make: how the error falls with their number (paper, section 7)."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.paper.statistics import rank_of_label

MAX_MEMBERS = 10  # ours: 1,023 subsets
CHUNK = 2048  # ours: images at a time, so that ImageNet's fit into memory
Subset = tuple[int, ...]


def subset_errors(
    members: Sequence[np.ndarray], labels: np.ndarray, tops: Sequence[int] = (1, 5)
) -> dict[Subset, dict[int, float]]:
    """The top-1 and top-5 error of the averaged probabilities (images x classes, of each member) of every subset.

    >>> first, second = np.array([[0.9, 0.1], [0.6, 0.4]]), np.array([[0.8, 0.2], [0.1, 0.9]])
    >>> subset_errors([first, second], np.array([0, 1]), tops=[1])
    {(0,): {1: 0.5}, (0, 1): {1: 0.0}, (1,): {1: 0.0}}
    """
    wrong: dict[int, Counter[Subset]] = {top: Counter() for top in tops}
    subsets: list[Subset] = []
    for start in range(0, len(labels), CHUNK):
        rows = slice(start, start + CHUNK)
        subsets = []
        for subset, total in _sums([member[rows] for member in members]):
            rank = rank_of_label(total, labels[rows])
            subsets.append(subset)
            for top in tops:
                wrong[top][subset] += int((rank >= top).sum())
    return {subset: {top: wrong[top][subset] / len(labels) for top in tops} for subset in subsets}


def _sums(
    members: Sequence[np.ndarray], after: Subset = (), total: np.ndarray | None = None
) -> Iterator[tuple[Subset, np.ndarray]]:
    """Each subset that begins with `after`, and the sum of its members; each sum adds one member to another."""
    for member in range(after[-1] + 1 if after else 0, len(members)):
        extended = members[member].astype(np.float64) if total is None else total + members[member]
        yield (*after, member), extended
        yield from _sums(members, (*after, member), extended)
