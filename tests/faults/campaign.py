"""How much of the campaign against the product runs: a part of it, or with FAULTS=whole
all of it (`make faults`).
"""

import os
from typing import TypeVar

V = TypeVar("V")


def amount(reduced: V, whole: V) -> V:
    """Return the amount of tries: `reduced` in CI, `whole` where FAULTS=whole."""
    return whole if os.environ.get("FAULTS") == "whole" else reduced
