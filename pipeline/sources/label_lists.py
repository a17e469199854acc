"""Lists of files and their classes, in the forms that people have them."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.sources.class_order import are_numbers
from pipeline.sources.devkit import read_devkit

FILE_COLUMNS = {
    *("path", "file", "file_name", "filename", "filepath", "image", "image_id", "imageid"),
    *("image_name", "name"),
}
BOXED = "predictionstring"  # Kaggle's has boxes behind the class
LABEL_COLUMNS = {
    *("label", "class", "wnid", "synset", "category", BOXED, "class_name"),
    *("label_name", "target"),
}
SPLIT_COLUMNS = {"split", "set", "subset", "partition"}
MOST_HEAD = 4096  # ours: characters of the line that names columns
EXPECTED = "a file and its class a line"


class Row(NamedTuple):
    """A line of a list; `split` is empty where no column says it."""

    file: str
    label: str
    split: str = ""


def read_labels(path: Path, classes: Sequence[str]) -> tuple[dict[str, str], str]:
    """Return the class of each file that a list names, and a remark on how it was read.

    The list is ILSVRC-2012's devkit, or a text: comma, tab or space between a file and
    its class, with a line of names or without, such as Kaggle's LOC_val_solution.csv,
    Tiny ImageNet's val_annotations.txt and Caffe's val.txt. Numbers are places in
    `classes`, from 0 on, unless the classes are numbers themselves.

    Raises:
        InputError: there is no such list, or it is of another form; a class is none of
            `classes`; a file has two.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such list of labels; expected {EXPECTED}")
    if path.name.endswith(".tar.gz"):
        devkit = read_devkit(path)
        named = (f"ILSVRC2012_val_{k:08d}.JPEG" for k in range(1, len(devkit.val_labels) + 1))
        rows = [(name, devkit.wnids[k]) for name, k in zip(named, devkit.val_labels, strict=True)]
        how = "by the devkit's ground truth"
    else:
        rows = [(Path(row.file).name, row.label) for row in rows_of(path)]
        how = f"by {path.name}"
        if are_numbers([label for _, label in rows]) and not are_numbers(classes):
            rows = _by_place(path, rows, classes)
            how += ", whose numbers are places in the sorted classes, from 0 on"
    known, labels = set(classes), dict[str, str]()
    for file, label in rows:
        if label not in known:
            raise InputError(f"{path}: {file} is of class {label}, which is none of train's")
        if labels.setdefault(file, label) != label:
            raise InputError(f"{path}: {file} has two classes, {labels[file]} and {label}")
    return labels, how


def rows_of(path: Path) -> Iterator[Row]:
    """Yield each file of a text, its class, and its split where a column says it.

    Raises:
        InputError: the text cannot be read, or is of another form.
    """
    try:
        lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read as text; expected {EXPECTED}") from None
    if not lines:
        raise InputError(f"{path}: is empty; expected {EXPECTED}")
    sign = "," if path.suffix == ".csv" else "\t" if "\t" in lines[0] else " "
    table = (
        [[*line.rsplit(maxsplit=1)] for line in lines]
        if sign == " "
        else list(csv.reader(lines, delimiter=sign))
    )
    names = [cell.strip().lower() for cell in table[0]]
    file, label = _column(path, names, FILE_COLUMNS), _column(path, names, LABEL_COLUMNS)
    split = _column(path, names, SPLIT_COLUMNS)
    if (file is None) != (label is None):
        raise InputError(
            f"{path}: has the columns {', '.join(table[0])}; expected one of the file"
            f" (such as path) and one of the class (such as label)"
        )
    for row in table if file is None else table[1:]:
        place, kind = (0, 1) if file is None or label is None else (file, label)
        if len(row) <= max(place, kind, split or 0):
            raise InputError(f"{path}: has the line {sign.join(row)[:80]!r}; expected {EXPECTED}")
        text = row[kind].strip()
        if names[kind] == BOXED:
            text = text.partition(" ")[0]
        yield Row(row[place].strip(), text, "" if split is None else row[split].strip())


def has_splits(path: Path) -> bool:
    """Whether the first line of a table names columns of files, classes and splits."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            head = file.readline(MOST_HEAD)
    except (OSError, UnicodeDecodeError):
        return False
    names = {cell.strip().lower() for cell in head.split("," if path.suffix == ".csv" else "\t")}
    return all(names & kinds for kinds in (FILE_COLUMNS, LABEL_COLUMNS, SPLIT_COLUMNS))


def _column(path: Path, names: list[str], kinds: set[str]) -> int | None:
    places = [place for place, name in enumerate(names) if name in kinds]
    if len(places) > 1:
        which = ", ".join(names[place] for place in places)
        raise InputError(f"{path}: has several columns for one thing: {which}; keep one")
    return places[0] if places else None


def _by_place(
    path: Path, rows: list[tuple[str, str]], classes: Sequence[str]
) -> list[tuple[str, str]]:
    numbers = [int(label) for _, label in rows]
    if min(numbers) < 0 or max(numbers) >= len(classes):
        raise InputError(
            f"{path}: has labels {min(numbers)} to {max(numbers)} for {len(classes)} classes; a"
            " number is taken for a place in the sorted classes, from 0 on (ILSVRC2012_IDs are in"
            " another order: give the devkit's archive)"
        )
    return [(file, classes[number]) for (file, _), number in zip(rows, numbers, strict=True)]
