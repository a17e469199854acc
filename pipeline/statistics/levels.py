"""The levels of all tests, fixed before any run."""

SIGNIFICANCE = 0.05  # ours: the level of every verdict, fixed before any run
GUESSING = 0.01  # ours: so seldom a guesser passes for a classifier
# ours: a share of all images; 12 of 1,000 classes in the order of strings lie in their
# place by accident, and a poor classifier has more right
HARDLY = 0.02
RESAMPLES = 99_999  # ours: draws of the permutation test
P_FLOOR = 1 / (1 + RESAMPLES)  # its smallest p-value
MAX_SEEDS = 10_000  # ours: more are of no use to anybody
POWER = 0.8  # ours, as usual: the chance with which a test is to find a difference that is there
FEW_CLASSES = 25  # ours: among so few, five guesses are nearly always right


def deciding_top(num_classes: int) -> int:
    """How many first guesses count as a hit where claims and arms are decided: one
    guess among few classes, else five.

    >>> deciding_top(10), deciding_top(1000)
    (1, 5)
    """
    return 1 if num_classes < FEW_CLASSES else 5
