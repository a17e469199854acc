"""Which split a word means, in the names of files and in columns of tables."""

import re
from collections.abc import Iterable

WORDS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
EXPECTED = "train, or val, validation, valid or test"
SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}


def split_in(text: str) -> str | None:
    """Return train, val or test, whichever one a text names; None if none, or several.

    >>> split_in("imagenet1k-train-0000"), split_in("Validation"), split_in("trainval")
    ('train', 'val', None)
    """
    parts = re.split(r"[^a-z]+", text.lower())
    named = {SPLIT_OF[part] for part in parts if part in SPLIT_OF}
    return named.pop() if len(named) == 1 else None


def validating(splits: Iterable[str]) -> str:
    """Return which split is for validation: val, or test where there is no val."""
    return "val" if "val" in (there := set(splits)) or "test" not in there else "test"
