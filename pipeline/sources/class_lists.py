"""Lists of classes in the forms that people have them, in the order of a network's
outputs.
"""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.sources.recognition import synsets

# a line of LOC_synset_mapping.txt or synset_words.txt: a wnid, then words
WNID_LINE = re.compile(r"(n\d{8})(?:[\s,:].*)?")
EXPECTED = (
    "one class a line (a name, or a wnid and words), or a JSON such as imagenet_class_index.json"
)


def read_classes(path: Path) -> tuple[tuple[str, ...], str]:
    """Return the classes of a file, in order, and a remark on that order, or "".

    The file has a class a line, where blank lines do not count; of lines that all begin
    with a wnid, such as those of LOC_synset_mapping.txt, the wnids are taken. Or it is
    JSON: a list, a dictionary from number to name or to [wnid, name], as
    imagenet_class_index.json, or from name to number.

    Raises:
        InputError: there is no such file, or it is no list of two classes or more.
    """
    try:
        if not path.is_file():  # a device would be read without end
            raise InputError(f"{path}: no such file; expected {EXPECTED}")
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read as text; expected {EXPECTED}") from None
    names = _of_json(path, text) if path.suffix == ".json" else _of_lines(text)
    if len(names) < 2:
        raise InputError(f"{path}: names {len(names)} classes; expected at least 2: {EXPECTED}")
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise InputError(f"{path}: names class {twice} twice; expected each class once")
    return names, _on_order(path, names)


def _of_lines(text: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    matches = [WNID_LINE.fullmatch(line) for line in lines]
    if all(matches):
        return tuple(match[1] for match in matches if match)
    return tuple(lines)


def _of_json(path: Path, text: str) -> tuple[str, ...]:
    try:
        content: Any = json.loads(text)
        if isinstance(content, list):
            return tuple(map(_name, content))
        items = list(content.items())
        if all(isinstance(value, int) for _, value in items):
            items = [(number, name) for name, number in items]
        names = {int(number): _name(value) for number, value in items}
    except (ValueError, TypeError, AttributeError, IndexError):
        raise InputError(f"{path}: is no list of classes; expected {EXPECTED}") from None
    if len(names) != len(items) or sorted(names) != list(range(len(names))):
        raise InputError(
            f"{path}: numbers its {len(items)} classes otherwise than 0 to {len(items) - 1}"
        )
    return tuple(names[number] for number in range(len(names)))


def _name(value: Any) -> str:
    """Return a class's name, or the wnid of [wnid, name]."""
    first = value[0] if isinstance(value, list) else value
    if not isinstance(first, str):
        raise TypeError
    return first


def _on_order(path: Path, names: tuple[str, ...]) -> str:
    usual = synsets()
    if set(names) != set(usual) or list(names) == usual:
        return ""
    place = next(k for k, (own, other) in enumerate(zip(names, usual, strict=True)) if own != other)
    return (
        f"{path}: has ILSVRC-2012's wnids in another order than the usual, sorted one (output"
        f" {place} is {names[place]}, not {usual[place]}); taken as it is"
    )
