"""What systems and editors leave beside data, and no source takes for part of it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from fnmatch import translate
from pathlib import Path

# ours: of macOS (as tar and exFAT keep it, too), Jupyter, Windows, Synology, ext4,
# Python and editors; a file is counted under the first pattern that fits
PATTERNS = (
    "._*",
    ".DS_Store",
    ".ipynb_checkpoints",
    ".*",
    "__MACOSX",
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "$RECYCLE.BIN",
    "System Volume Information",
    "@eaDir",
    "lost+found",
    "__pycache__",
    "*~",
    "#*#",
    "*.bak",
    "*.swp",
)
ANY = re.compile("|".join(f"({translate(pattern)})" for pattern in PATTERNS), re.IGNORECASE)


def clutter(name: str) -> str:
    """The pattern that a name is clutter by; empty if it is none. A path is clutter by
    its last part, or by a folder of a fixed name: a home may lie in a hidden folder.

    >>> clutter("._3.JPEG"), clutter("__MACOSX/3.JPEG"), clutter("../3.JPEG")
    ('._*', '__MACOSX', '')
    """
    *folders, last = name.split("/")
    fixed = (kind for kind in map(_kind, folders) if "*" not in kind)
    return _kind(last) or next(filter(None, fixed), "")


def _kind(name: str) -> str:
    match = ANY.match(name)
    return PATTERNS[(match.lastindex or 0) - 1] if match else ""


def tidy(folder: Path, left_out: Counter[str]) -> list[Path]:
    """What is in a folder, by name, without clutter, which is counted."""
    kept = []
    for entry in sorted(folder.iterdir()):
        if kind := clutter(entry.name):
            left_out[kind] += 1
        else:
            kept.append(entry)
    return kept


def in_words(left_out: Mapping[str, int]) -> str:
    """Describe for people what was left out.

    >>> in_words({"._*": 12, ".DS_Store": 1})
    'left out as clutter: 12 ._*, 1 .DS_Store'
    """
    return f"left out as clutter: {', '.join(f'{n} {kind}' for kind, n in left_out.items())}"


def total(counts: Iterable[Mapping[str, int] | None]) -> dict[str, int]:
    """Sum counts by pattern."""
    sums: Counter[str] = Counter()
    for count in counts:
        sums.update(count or {})
    return {kind: sums[kind] for kind in PATTERNS if sums[kind]}
