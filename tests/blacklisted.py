"""A list in the form of ILSVRC-2014's blacklist."""

from collections.abc import Iterable
from pathlib import Path


def write_blacklist(path: Path, numbers: Iterable[int]) -> Path:
    path.write_text("".join(f"{number}\n" for number in numbers))
    return path
