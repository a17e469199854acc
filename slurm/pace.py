"""How often SLURM's controller is asked."""

from collections.abc import Iterator

FIRST, LONGEST, GROWTH = 2.0, 60.0, 1.25  # ours: a demo feels quick; a study of days asks little


def pauses() -> Iterator[float]:
    """Yield the seconds before each next question, without end.

    >>> from itertools import islice
    >>> [round(seconds) for seconds in islice(pauses(), 0, 20, 3)]
    [2, 4, 8, 15, 29, 57, 60]
    """
    seconds = FIRST
    while True:
        yield seconds
        seconds = min(LONGEST, seconds * GROWTH)
