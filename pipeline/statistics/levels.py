"""The levels of all tests; they were fixed before any run."""

SIGNIFICANCE = 0.05  # ours: the level of every verdict, fixed before any run
GUESSING = 0.01  # ours: a guesser passes for a classifier as rarely as this
# ours: a share of all images. Of 1,000 classes in the order of strings, 12 have the
# right place by accident; a poor classifier has more images right
HARDLY = 0.02
RESAMPLES = 99_999  # ours: draws of the permutation test
P_FLOOR = 1 / (1 + RESAMPLES)  # the smallest p-value of that test
MAX_SEEDS = 10_000  # ours: nobody trains more
POWER = 0.8  # ours, as usual: the chance that a test finds a difference that exists
FEW_CLASSES = 25  # ours: among so few, five guesses are nearly always right


def deciding_top(num_classes: int) -> int:
    """Return the number of guesses that decides on claims and arms.

    A hit has its label among so many first guesses: one where classes are few, else
    five.

    >>> deciding_top(10), deciding_top(1000)
    (1, 5)
    """
    return 1 if num_classes < FEW_CLASSES else 5
