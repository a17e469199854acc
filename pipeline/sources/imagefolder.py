"""The source that is a folder of training and validation images, a folder a class."""

from pathlib import Path

from pipeline.configs.prepare import ImageFolderConfig
from pipeline.errors import InputError
from pipeline.sources.base import SPLITS, Source
from pipeline.sources.folders import NO_CLASS, folder_source


def imagefolder(config: ImageFolderConfig) -> Source:
    """train/<class>/* and val/<class>/*.

    Raises:
        InputError: there is no such folder, or a split, a class or an image is missing.
    """
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
    classes, other = (
        sorted(entry.name for entry in (path / split).iterdir() if entry.is_dir())
        for split in SPLITS
    )
    if different := sorted(set(classes) ^ set(other)):
        where = "train" if different[0] in classes else "val"
        raise InputError(
            f"{path}: class {different[0]} is in {where}/ only; both splits need the same class"
            " folders"
        )
    if len(classes) < 2:
        raise InputError(
            f"{path}: has {len(classes)} class folders below train/; at least 2 are needed"
        )
    listing: list[tuple[str, int, Path]] = []
    for split in SPLITS:
        listing += [
            (split, NO_CLASS, entry)
            for entry in sorted((path / split).iterdir())
            if not entry.is_dir()
        ]
        for label, name in enumerate(classes):
            found = sorted((path / split / name).iterdir())
            if not found:
                raise InputError(
                    f"{path / split / name}: class folder is empty; each class needs at least one"
                    " image"
                )
            listing += [(split, label, file) for file in found]
    return folder_source(classes, listing, path)
