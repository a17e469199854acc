"""The source that is a folder of images which tables list, with the class of each."""

import os.path
from collections import Counter
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from pipeline.configs.prepare import ListedConfig
from pipeline.errors import InputError
from pipeline.sources.base import Source
from pipeline.sources.class_order import are_numbers, by_number, numbers_in_words
from pipeline.sources.folders import IMAGES, folder_source, note_on_unseen
from pipeline.sources.label_lists import Row, rows_of
from pipeline.sources.splits import EXPECTED, WORDS, split_in, validating

ENDS = ("", ".jpg", ".jpeg", ".JPEG", ".png")  # that a list may leave out
Lists = dict[str, tuple[Path, list[Row]]]


def listed(config: ListedConfig) -> Source:
    """The images of a table for each split, or of one table with a column of splits.

    A file is relative to the folder, to its table's, or to a folder there that is named
    as the split, or images/.

    Raises:
        InputError: there is no such table, a file is missing, out of the folder or
            twice in a split, or a class of the validation images is none of training.
    """
    path = config.path
    if path is None or not path.is_dir():
        raise InputError(f"{path}: no such folder; expected one with {config.train_list}")
    path = Path(os.path.normpath(path))  # without "..", to tell what lies in it
    lists, notes = _lists(config, path)
    names, place, more = _classes(config, lists)
    listing = [
        (split, place[row.label], file)
        for split, (table, rows) in lists.items()
        for row, file in zip(rows, _files(path, table, split, rows), strict=True)
    ]
    validated = (label for split, label, _ in listing if split == "val")
    unseen = note_on_unseen(names, validated, f"image in {lists['val'][0].name}")
    return folder_source(names, listing, path, notes=(*notes, *more, *unseen))


def _lists(config: ListedConfig, path: Path) -> tuple[Lists, tuple[str, ...]]:
    """Return the table and the rows of each split, and what a person should know."""
    table = _table(path, config.train_list)
    rows = list(rows_of(table))
    if config.val_list is not None:
        val = _table(path, config.val_list)
        lists = {"train": (table, rows), "val": (val, list(rows_of(val)))}
        _refuse_other_splits(lists)
        return lists, ()
    of_split: dict[str, list[Row]] = {}
    for row in rows:
        if (split := split_in(row.split)) is None:
            raise InputError(
                f"{table}: {row.file} is of split {row.split!r}; expected {EXPECTED} in a column"
                " named split, or a table of its own for validation (val_list, --val-list)"
            )
        of_split.setdefault(split, []).append(row)
    val_split = validating(of_split)
    if lacking := [split for split in ("train", val_split) if split not in of_split]:
        raise InputError(f"{table}: lists no image of split {lacking[0]}")
    unread = len(rows) - len(of_split["train"]) - len(of_split[val_split])
    notes = (f"{unread} images of {table.name} are of split test and not read",) if unread else ()
    return {"train": (table, of_split["train"]), "val": (table, of_split[val_split])}, notes


def _refuse_other_splits(lists: Lists) -> None:
    """Raise InputError if a table of one split has a row that says another."""
    for split, (table, rows) in lists.items():
        meant = {split, "test"} if split == "val" else {split}
        for row in rows:
            if (of := split_in(row.split)) is not None and of not in meant:
                raise InputError(
                    f"{table}: is for {split}, and {row.file} is of split {row.split!r}; one table"
                    " with a column of splits goes without --val-list (val_list)"
                )


def _table(path: Path, name: str) -> Path:
    if not (path / name).is_file():
        raise InputError(f"{path / name}: no such list; expected a file and its class a line")
    return path / name


def _classes(
    config: ListedConfig, lists: Lists
) -> tuple[list[str], dict[str, int], tuple[str, ...]]:
    """Return the names of the classes, the place of each label, and what a person
    should know of them.
    """
    table, rows = lists["train"]
    labels = by_number(sorted({row.label for row in rows}), table)
    of_val = {row.label for row in lists["val"][1]}
    if config.classes is None:
        names, place = labels, {label: k for k, label in enumerate(labels)}
        if unknown := sorted(of_val - set(labels)):
            raise InputError(
                f"{lists['val'][0]}: has class {unknown[0]}, of which {table} lists no training"
                " image; --classes names classes without any"
            )
    else:
        names = list(config.classes)
        place = {name: k for k, name in enumerate(names)}
        used = sorted({*labels, *of_val})
        if are_numbers(used) and not are_numbers(names):
            place = {label: int(label) for label in used if 0 <= int(label) < len(names)}
        if unknown := [label for label in used if label not in place]:
            raise InputError(
                f"{table}: has class {unknown[0]!r}, which is none of the {len(names)} classes of"
                " --classes"
            )
    if len(names) < 2:
        raise InputError(f"{table}: has {len(names)} classes; expected at least 2")
    return names, place, numbers_in_words(names, "classes")


def _files(path: Path, table: Path, split: str, rows: Sequence[Row]) -> list[Path]:
    """Return the files that rows name."""
    if not rows:
        raise InputError(f"{table}: lists no image of split {split}")
    folders = ("", *WORDS[split], *(WORDS["test"] if split == "val" else ()), IMAGES)
    places = list(dict.fromkeys(top / each for top in (path, table.parent) for each in folders))
    options = product(places, ENDS)
    place, end = next(
        (each for each in options if (each[0] / f"{rows[0].file}{each[1]}").is_file()),
        (path, ""),
    )
    files = [Path(os.path.normpath(place / f"{row.file}{end}")) for row in rows]
    if outside := next((file for file in files if not file.is_relative_to(path)), None):
        raise InputError(f"{table}: names {outside}, which is not in {path}")
    if missing := [file for file in files if not file.is_file()]:
        raise InputError(
            f"{table}: names {len(files)} {split} images, of which {len(missing)} are missing (the"
            f" first: {missing[0]})"
        )
    twice = next((file for file, count in Counter(files).items() if count > 1), None)
    if twice:
        raise InputError(f"{table}: names {twice} twice for {split}; expected each image once")
    return files
