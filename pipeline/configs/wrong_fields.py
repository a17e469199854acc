"""What is wrong in the fields of a config, in one line for people."""

import os
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from pipeline.configs.base import Frozen
from pipeline.errors import did_you_mean

LONGEST_VALUE = 120  # ours: the most characters of a wrong value in a message
NAMED = "letters, digits, dots, hyphens and underscores"
PATTERNS = {  # what a text must be, by its pattern: people read no regular expressions
    r"^[A-Za-z0-9._-]{1,64}$": f"1 to 64 {NAMED}",
    r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)?$": f"NAME or OWNER/NAME, each of {NAMED}",
    r"^[A-Za-z_][A-Za-z0-9_]{0,63}$": (
        "a letter or underscore, then letters, digits and underscores, 64 at most"
    ),
    r"^/[A-Za-z0-9._/-]*$": f"a path that begins with /, of {NAMED} and slashes",
    r"^[A-Za-z0-9._,:@&|*+=%/()\[\]~-]{0,1024}$": (
        "what SLURM takes: letters, digits and . _ , : @ & | * + = % / ( ) [ ] ~ -, 1024 at most"
    ),
    r"^([0-9]{1,9}[KMGT]?)?$": "memory such as 4000M or 60G",
    r"^[A-Za-z0-9._-]*$": f"{NAMED} only",
    r"^[^\x00-\x1f]{1,1024}$": "a path of 1 to 1024 characters, all of which can be printed",
    r"^[0-9]+$": "digits",
    r"^[a-z]+-[A-Za-z0-9._-]{1,90}$": f"STAGE-NAME, of {NAMED}",
    r"^[0-9a-f]{40}$": "40 hex digits in lower case",
    r"^[0-9a-f]{64}$": "64 hex digits in lower case",
    r"^(torchvision|timm|python):[A-Za-z0-9._-]{1,64}$": (
        "torchvision:NAME, timm:NAME or FILE.py:FUNCTION"
    ),
    r"^(sgd|lars|timm:[a-z0-9_]{1,64})$": "sgd, lars or timm:NAME",
    r"^(googlenet|(torchvision|timm|python):[A-Za-z0-9._-]{1,64})$": (
        "googlenet, torchvision:NAME, timm:NAME or FILE.py:FUNCTION"
    ),
}


def one_line(error: ValidationError) -> str:
    """Return the errors of a validation as one line: field, value, what is valid."""
    items = error.errors()
    inner = [
        item
        for item in items
        if not any(o["loc"][: len(item["loc"])] == item["loc"] for o in items if o is not item)
    ]
    lines = []
    for item in inner or items:
        field = clipped(".".join(str(part) for part in item["loc"]), LONGEST_VALUE)
        # a whole config would fill pages
        value = clipped(_shown(item["input"]), LONGEST_VALUE)
        message = in_words(item, error.title)
        if item["type"] == "missing":
            lines.append(f"{field}: {message}")
        else:
            lines.append(f"{field} = {value}: {message}" if field else message)
    return "; ".join(lines)


def in_words(item: Any, title: str) -> str:
    """Return what is wrong with one field of the config `title`."""
    if item["type"] == "missing":
        return f"is missing; {title} needs it" if len(item["loc"]) == 1 else "is missing"
    if item["type"] == "extra_forbidden":
        return f"no such field{did_you_mean(str(item['loc'][-1]), _fields(title, item['loc']))}"
    if item["type"] == "string_pattern_mismatch":
        words = PATTERNS.get(item["ctx"]["pattern"], "other characters, or another length")
        return f"expected {words}"
    message: str = item["msg"]
    return message.removeprefix("Value error, ")


def _fields(title: str, location: tuple[int | str, ...]) -> list[str]:
    """Return the names of fields that may be meant: of the config, or of all configs
    where the field lies deeper.
    """
    kinds = [kind for kind in _kinds(Frozen) if len(location) > 1 or kind.__name__ == title]
    return sorted({name for kind in kinds or _kinds(Frozen) for name in kind.model_fields})


def _kinds(base: type[Frozen]) -> Iterator[type[Frozen]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def _shown(value: object) -> str:
    try:
        return repr(os.fspath(value) if isinstance(value, os.PathLike) else value)
    except (ValueError, RecursionError):  # a number of 5,000 digits, tables in tables
        return f"a long {type(value).__name__}"


def clipped(text: str, most: int) -> str:
    """Return a text, cut after its `most` characters."""
    return text if len(text) <= most else f"{text[:most]} ..."
