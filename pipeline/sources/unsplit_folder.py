"""The source that is a folder of classes, which nobody has split."""

import hashlib
from collections import Counter
from pathlib import Path

from pipeline.configs.prepare import UnsplitFolderConfig
from pipeline.errors import InputError
from pipeline.sources.base import NO_CLASS, Source
from pipeline.sources.class_order import by_number
from pipeline.sources.clutter import tidy, total
from pipeline.sources.folders import files_of, folder_source, notes_on


def unsplit_folder(config: UnsplitFolderConfig) -> Source:
    """<class>/*, of which `val_percent` % of each class are for validation.

    Those are the files with the lowest SHA-256, so that neither names nor dates decide.
    Equal files stay together. A class of two files or more has one at least on either
    side.

    Raises:
        InputError: there is no such folder, or it has fewer than two classes, or an
            empty one.
    """
    path = config.path
    if path is None or not path.is_dir():
        raise InputError(f"{path}: no such folder; expected one with <class>/ below it")
    left_out: Counter[str] = Counter()
    entries = tidy(path, left_out)
    classes = by_number([entry.name for entry in entries if entry.is_dir()], path)
    if len(classes) < 2:
        raise InputError(
            f"{path}: has {len(classes)} class folders; at least 2 are needed: sort the images into"
            " a folder a class"
        )
    listing: dict[str, list[tuple[str, int, Path]]] = {"train": [], "val": []}
    listing["train"] += [("train", NO_CLASS, entry) for entry in entries if not entry.is_dir()]
    for label, name in enumerate(classes):
        files = files_of(path / name, left_out)
        if not files:
            raise InputError(f"{path / name}: class folder is empty; each class needs an image")
        chosen = _for_validation(files, config.val_percent)
        for file in files:
            split = "val" if file in chosen else "train"
            listing[split].append((split, label, file))
    note = (
        f"no val/ in {path}: of each class the {config.val_percent} % of its files with the lowest"
        f" SHA-256 are for validation, {len(listing['val'])} in all"
    )
    return folder_source(
        classes,
        listing["train"] + listing["val"],
        path,
        total([left_out]),
        (note, *notes_on(classes)),
    )


def _for_validation(files: list[Path], percent: int) -> set[Path]:
    """Return the files of a class that are for validation."""
    by_digest: dict[str, list[Path]] = {}
    for file in files:
        content = file.read_bytes() if file.is_file() else b""
        by_digest.setdefault(hashlib.sha256(content).hexdigest(), []).append(file)
    number = min(max(1, round(len(by_digest) * percent / 100)), len(by_digest) - 1)
    return {file for digest in sorted(by_digest)[:number] for file in by_digest[digest]}
