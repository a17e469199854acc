"""The source that is a folder of training and validation images, a folder a class."""

from collections import Counter
from pathlib import Path

from pipeline.configs.prepare import ImageFolderConfig
from pipeline.errors import InputError
from pipeline.sources.base import NO_CLASS, SPLITS, Source
from pipeline.sources.class_order import by_number
from pipeline.sources.clutter import tidy, total
from pipeline.sources.folders import files_of, folder_source, notes_on, twins


def imagefolder(config: ImageFolderConfig) -> Source:
    """train/<class>/* and val/<class>/*. A class may have no folder in val/.

    Raises:
        InputError: there is no such folder, or a split, a class or an image is missing.
    """
    path = _folder(config)
    left_out: Counter[str] = Counter()
    entries = {split: tidy(path / split, left_out) for split in SPLITS}
    names = {
        split: by_number([entry.name for entry in found if entry.is_dir()], path / split)
        for split, found in entries.items()
    }
    classes = names["train"]
    _refuse_other_classes(path, classes, names["val"])
    listing: list[tuple[str, int, Path]] = []
    for split in SPLITS:
        listing += [(split, NO_CLASS, entry) for entry in entries[split] if not entry.is_dir()]
        for label, name in enumerate(classes):
            if split == "val" and name not in names["val"]:
                continue
            found = files_of(path / split / name, left_out)
            if not found:
                raise InputError(
                    f"{path / split / name}: class folder is empty; each class needs at least one"
                    " image"
                )
            listing += [(split, label, file) for file in found]
    notes = notes_on(classes)
    if unseen := [name for name in classes if name not in names["val"]]:
        notes += (
            f"{len(unseen)} of {len(classes)} classes have no folder in val/ (the first:"
            f" {unseen[0]}): no error is measured on them",
        )
    return folder_source(classes, listing, path, total([left_out]), notes)


def _folder(config: ImageFolderConfig) -> Path:
    path = config.path
    if path is None:
        raise InputError(
            f"data set {config.name}: no path given; pass --data FOLDER with train/<class>/ and"
            " val/<class>/"
        )
    if not path.is_dir():
        raise InputError(
            f"{path}: no such folder; expected one with train/<class>/ and val/<class>/ below it"
        )
    for split in SPLITS:
        if not (path / split).is_dir():
            raise InputError(
                f"{path}: has no folder {split}/; expected train/<class>/ and val/<class>/"
            )
    return path


def _refuse_other_classes(path: Path, train: list[str], val: list[str]) -> None:
    for split, names in zip(SPLITS, (train, val), strict=True):
        if len(names) < 2:
            has = f" ({names[0]}/)" if names else ""
            raise InputError(
                f"{path}: has {len(names)} class folders below {split}/{has}; at least 2 are"
                " needed: sort the images into a folder a class"
            )
    if unknown := sorted(set(val) - set(train)):
        close = twins(unknown, train)
        hint = (
            f"; train/ has {close[0][1]}, which differs from {close[0][0]} in case or accents only"
            if close
            else ""
        )
        raise InputError(
            f"{path}: class {unknown[0]} is in val/ only; each class of val/ needs its folder in"
            f" train/{hint}"
        )
