"""The order of classes that have names only: labels are places in it."""

import re
from collections.abc import Sequence
from itertools import pairwise

from pipeline.errors import InputError

NUMBER = re.compile(r"-?[0-9]+")


def are_numbers(names: Sequence[str]) -> bool:
    """Whether all names are whole numbers."""
    return bool(names) and all(map(NUMBER.fullmatch, names))


def by_number(names: Sequence[str], where: object) -> list[str]:
    """Whole numbers by their value, as `0` to `999` name a classifier's outputs; other
    names as they are.

    >>> by_number(["10", "9"], "here"), by_number(["10", "9", "a"], "here")
    (['9', '10'], ['10', '9', 'a'])

    Raises:
        InputError: two names are the same number.
    """
    if not are_numbers(names):
        return list(names)
    ordered = sorted(names, key=int)
    for one, other in pairwise(ordered):
        if int(one) == int(other):
            raise InputError(
                f"{where}: classes {one} and {other} are the same number; expected each class once"
            )
    return ordered


def numbers_in_words(classes: Sequence[str], what: str) -> tuple[str, ...]:
    """Return what a person should know of the order of names with numbers: nothing, or
    one sentence.

    Names that are numbers are in their order, and one may be missing. Other names are
    in the order of their texts, whatever numbers are in them.

    >>> numbers_in_words(["0", "1", "2"], "folders")
    ('the folders are numbers: taken in their order as numbers, 0 to 2',)
    >>> numbers_in_words(["class_10", "class_2"], "folders")
    ('the folders are taken in alphabetical order: class_10 before class_2',)
    """
    if not are_numbers(classes):
        return tuple(
            f"the {what} are taken in alphabetical order: {one} before {other}"
            for one, other in pairwise(classes)
            if _parts(one) > _parts(other)
        )[:1]
    first, last = int(classes[0]), int(classes[-1])
    missing = last - first + 1 - len(classes)
    gap = f"; {missing} between {'is' if missing == 1 else 'are'} missing" if missing else ""
    return (f"the {what} are numbers: taken in their order as numbers, {first} to {last}{gap}",)


def _parts(name: str) -> list[tuple[bool, int, str]]:
    """Return the numbers in a name and the texts between, as people order them."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(bool(digits), int(digits or 0), text) for digits, text in parts]
