"""The source that is a folder of images to evaluate on."""

from collections import Counter
from pathlib import Path

from pipeline.configs.prepare import DEVKIT, VAL, LabelledFolderConfig
from pipeline.errors import InputError
from pipeline.sources.base import NO_CLASS, Source
from pipeline.sources.class_order import are_numbers, by_number
from pipeline.sources.clutter import tidy, total
from pipeline.sources.folders import files_of, folder_source, notes_on


def labelled_folder(config: LabelledFolderConfig) -> Source:
    """Images to evaluate on: val/<class>/* or <class>/*, or files named <class>_*;
    without `classes`, the folders' names. Folders named by numbers are places in
    `classes` that have names, as ImageNet-V2's are in ILSVRC-2012's.

    Raises:
        InputError: there is no such folder, no image in it, one that is of no class, or
            images of one class only, of which nobody said that they are meant.
    """
    path = config.path
    if path is None or not path.is_dir():
        raise InputError(
            f"{path}: no such folder; expected one with val/<class>/, <class>/ or files named"
            " <class>_*"
        )
    top = path / "val" if (path / "val").is_dir() else path
    left_out: Counter[str] = Counter()
    folders, files = _by_class(top, left_out)
    seen = {name for name, _ in files if name}
    if not seen:
        raise InputError(
            f"{path}: holds no images; expected val/<class>/, <class>/ or files named <class>_*"
        )
    names = list(config.classes or by_number(sorted(seen.union(folders)), top))
    if len(seen) == 1 and not seen <= set(config.classes or ()):
        _refuse_one_class(top, [file for name, file in files if name], *seen)
    label_of = {"": NO_CLASS} | {name: label for label, name in enumerate(names)}
    notes = () if config.classes else notes_on(names)
    if config.classes and are_numbers(sorted(seen.union(folders))) and not are_numbers(names):
        label_of = {"": NO_CLASS} | {str(label): label for label in range(len(names))}
        seen = {names[label_of[name]] for name in seen if name in label_of}
        notes = (f"the folders are numbers: places in the {len(names)} classes, from 0 on",)
    if unknown := next((file for name, file in files if name not in label_of), None):
        raise InputError(f"{unknown}: belongs to none of the {len(names)} classes")
    if unseen := [name for name in names if name not in seen]:
        notes += (f"{len(unseen)} of {len(names)} classes have no image (the first: {unseen[0]})",)
    listing = [("val", label_of[name], file) for name, file in files]
    return folder_source(names, listing, top, total([left_out]), notes)


def class_names(path: Path) -> list[str]:
    """Return the names that the folders or files of a folder of images have, in
    order.
    """
    top = path / "val" if (path / "val").is_dir() else path
    if not top.is_dir():
        return []
    folders, files = _by_class(top, Counter())
    return sorted({name for name, _ in files if name}.union(folders))


def _by_class(top: Path, left_out: Counter[str]) -> tuple[list[str], list[tuple[str, Path]]]:
    """The class folders, and each file with its class, which may be none."""
    entries = tidy(top, left_out)
    folders = [entry for entry in entries if entry.is_dir()]
    if folders:
        inside = [(folder.name, file) for folder in folders for file in files_of(folder, left_out)]
        strays = [("", entry) for entry in entries if not entry.is_dir()]
        return [folder.name for folder in folders], inside + strays
    return [], [
        (entry.name.partition("_")[0] if "_" in entry.name else "", entry) for entry in entries
    ]


def _refuse_one_class(top: Path, files: list[Path], name: str) -> None:
    raise InputError(
        f"{top}: all {len(files)} files, such as {files[0].name}, would be of one class, {name};"
        " expected a folder a class, or files named <class>_*; for ILSVRC-2012's flat validation"
        f" images give the folder of {VAL} and {DEVKIT}; for images of one class give the list of"
        " all (--classes)"
    )
