"""The source that is a folder of training and validation images, a folder a class."""

from collections import Counter
from pathlib import Path

from pipeline.configs.prepare import ImageFolderConfig
from pipeline.errors import InputError
from pipeline.sources.base import NO_CLASS, Source
from pipeline.sources.class_order import by_number
from pipeline.sources.clutter import tidy, total
from pipeline.sources.folders import (
    class_folders,
    files_of,
    folder_source,
    note_on_unseen,
    notes_on,
    twins,
)
from pipeline.sources.label_lists import read_labels

Listing = list[tuple[str, int, Path]]


def imagefolder(config: ImageFolderConfig) -> Source:
    """train/<class>/* and val/<class>/*, or val/* with a list of their classes. A class
    may have no image in val/.

    Raises:
        InputError: there is no such folder, or a split, a class or an image is missing.
    """
    path = _folder(config)
    train, val = path / config.train_folder, path / config.val_folder
    left_out: Counter[str] = Counter()
    folders, strays = class_folders(train, left_out)
    _refuse_few(path, config.train_folder, list(folders))
    classes = by_number(list(folders), train)
    label_of = {name: label for label, name in enumerate(classes)}
    listing: Listing = [("train", NO_CLASS, entry) for entry in strays]
    listing += _of_folders("train", folders, label_of, left_out)
    notes = notes_on(classes)
    if config.val_labels is None:
        folders, strays = class_folders(val, left_out)
        _refuse_few(path, config.val_folder, list(folders))
        _refuse_unknown(config, path, classes, list(folders))
        validation: Listing = [("val", NO_CLASS, entry) for entry in strays]
        validation += _of_folders("val", folders, label_of, left_out)
        lack = "folder"
    else:
        validation, how = _of_list(val, path / config.val_labels, label_of, left_out)
        notes += (f"the images of {config.val_folder}/ have their classes {how}",)
        lack = "image"
    labels = (label for _, label, _ in validation)
    notes += note_on_unseen(classes, labels, f"{lack} in {config.val_folder}/")
    return folder_source(classes, listing + validation, path, total([left_out]), notes)


def _of_folders(
    split: str, folders: dict[str, Path], label_of: dict[str, int], left_out: Counter[str]
) -> Listing:
    """Return the files of class folders, in the order of the classes."""
    listing: Listing = []
    for name, label in label_of.items():
        if (folder := folders.get(name)) is None:
            continue
        files = files_of(folder, left_out)
        if not files:
            raise InputError(
                f"{folder}: class folder is empty; each class needs at least one image"
            )
        listing += [(split, label, file) for file in files]
    return listing


def _of_list(
    folder: Path, path: Path, label_of: dict[str, int], left_out: Counter[str]
) -> tuple[Listing, str]:
    """Return the files of a folder with the classes that a list gives them, and how it
    was read. The list may leave out the ends of names.

    Raises:
        InputError: the list names an image that is not there.
    """
    labels, how = read_labels(path, list(label_of))
    listing: Listing = []
    missing = dict(labels)
    for file in tidy(folder, left_out):
        if file.resolve() == path.resolve():
            continue
        name = file.name if file.name in labels else file.stem
        listing.append(("val", label_of[labels[name]] if name in labels else NO_CLASS, file))
        missing.pop(name, None)
    if missing:
        raise InputError(
            f"{path}: names {len(labels)} images, of which {len(missing)} are not in {folder} (the"
            f" first: {next(iter(missing))})"
        )
    return listing, how


def _folder(config: ImageFolderConfig) -> Path:
    path, folders = config.path, (config.train_folder, config.val_folder)
    expected = (
        f"{folders[0]}/<class>/ and {folders[1]}/<class>/"
        if config.val_labels is None
        else f"{folders[0]}/<class>/ and images in {folders[1]}/"
    )
    if path is None:
        raise InputError(
            f"data set {config.name}: no path given; pass --data FOLDER with {expected}"
        )
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected one with {expected} below it")
    for folder in folders:
        if not (path / folder).is_dir():
            raise InputError(
                f"{path}: has no folder {folder}/; expected {expected}; going-deeper data prepare"
                " auto FOLDER looks for other layouts"
            )
    return path


def _refuse_few(path: Path, folder: str, names: list[str]) -> None:
    if len(names) < 2:
        has = f" ({names[0]}/)" if names else ""
        raise InputError(
            f"{path}: has {len(names)} class folders below {folder}/{has}; at least 2 are needed:"
            " sort the images into a folder a class, or give the list of their classes"
            " (val_labels; going-deeper data prepare auto FOLDER looks for it)"
        )


def _refuse_unknown(
    config: ImageFolderConfig, path: Path, train: list[str], val: list[str]
) -> None:
    if unknown := sorted(set(val) - set(train)):
        close = twins(unknown, train)
        folder = config.train_folder
        hint = (
            f"; {folder}/ has {close[0][1]}, which differs from {close[0][0]} in case or accents"
            " only"
            if close
            else ""
        )
        raise InputError(
            f"{path}: class {unknown[0]} is in {config.val_folder}/ only; each class of"
            f" {config.val_folder}/ needs its folder in {folder}/{hint}"
        )
