"""Every smaller ensemble of the same members (paper, section 7).

Their errors show what each further member adds.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.statistics.label_ranks import rank_of_label

MAX_MEMBERS = 10  # ours: 1,023 subsets
MISS = 5  # ours: a miss at top-1 and top-5; ranks of 0 to 5 take three bits in a table
Subset = tuple[int, ...]


def subset_ranks(members: Sequence[np.ndarray], labels: np.ndarray) -> dict[Subset, np.ndarray]:
    """Return where the label ranks for every subset of the members, 5 at most.

    `members` has the probabilities of each, images x classes; a subset averages them.
    Several sums of so many images are in memory at once.

    >>> first = np.array([[0.9, 0.1], [0.6, 0.4]])
    >>> second = np.array([[0.8, 0.2], [0.1, 0.9]])
    >>> ranks = subset_ranks([first, second], np.array([0, 1]))
    >>> {subset: row.tolist() for subset, row in ranks.items()}
    {(0,): [0, 1], (0, 1): [0, 0], (1,): [0, 0]}
    """
    totals = np.zeros((len(members) + 1, *members[0].shape))
    return {
        subset: np.minimum(rank_of_label(total, labels), MISS).astype(np.uint8)
        for subset, total in _sums(members, totals)
    }


def _sums(
    members: Sequence[np.ndarray], totals: np.ndarray, after: Subset = ()
) -> Iterator[tuple[Subset, np.ndarray]]:
    """Yield each subset that begins with `after`, and the sum of its members.

    Each sum adds one member to a sum that exists already. `totals` has room for the sum
    of no member, which is zero, and for one of each size: the next subset overwrites
    them, as new arrays would cost more than the sums.
    """
    size = len(after)
    for member in range(after[-1] + 1 if after else 0, len(members)):
        subset = (*after, member)
        np.add(totals[size], members[member], out=totals[size + 1])
        yield subset, totals[size + 1]
        yield from _sums(members, totals, subset)
