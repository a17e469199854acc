"""Every smaller ensemble of the same members: how the error falls with their number
(paper, section 7).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.statistics.label_ranks import rank_of_label

MAX_MEMBERS = 10  # ours: 1,023 subsets
CHUNK = 2048  # ours: images at a time, so that ImageNet's fit into memory
MISS = 5  # ours: no hit of any kind that is counted; small numbers take three bits in a table
Subset = tuple[int, ...]


def subset_ranks(members: Sequence[np.ndarray], labels: np.ndarray) -> dict[Subset, np.ndarray]:
    """The label ranks in the averaged probabilities of every subset of members, 5 at
    most. `members` holds images x classes for each member.

    >>> first = np.array([[0.9, 0.1], [0.6, 0.4]])
    >>> second = np.array([[0.8, 0.2], [0.1, 0.9]])
    >>> ranks = subset_ranks([first, second], np.array([0, 1]))
    >>> {subset: row.tolist() for subset, row in ranks.items()}
    {(0,): [0, 1], (0, 1): [0, 0], (1,): [0, 0]}
    """
    ranks_of_subsets: dict[Subset, np.ndarray] = {}
    for start in range(0, len(labels), CHUNK):
        rows = slice(start, start + CHUNK)
        for subset, total in _sums([member[rows] for member in members]):
            ranks = ranks_of_subsets.setdefault(subset, np.empty(len(labels), np.uint8))
            ranks[rows] = np.minimum(rank_of_label(total, labels[rows]), MISS)
    return ranks_of_subsets


def _sums(
    members: Sequence[np.ndarray], after: Subset = (), total: np.ndarray | None = None
) -> Iterator[tuple[Subset, np.ndarray]]:
    """Each subset that begins with `after`, and the sum of its members. Each sum adds
    one member to a smaller sum.
    """
    for member in range(after[-1] + 1 if after else 0, len(members)):
        extended = members[member].astype(np.float64) if total is None else total + members[member]
        yield (*after, member), extended
        yield from _sums(members, (*after, member), extended)
