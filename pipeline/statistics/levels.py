"""The levels of all tests, fixed before any run."""

SIGNIFICANCE = 0.05  # ours: the level of every verdict, fixed before any run
RESAMPLES = 99_999  # ours: draws of the permutation test
MAX_SEEDS = 10_000  # ours: more are of no use to anybody
POWER = 0.8  # ours, as usual: the chance with which a test is to find a difference that is there
