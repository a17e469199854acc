"""The source that is a folder of images to evaluate on."""

from pipeline.configs.prepare import LabelledFolderConfig
from pipeline.errors import InputError
from pipeline.sources.base import Source
from pipeline.sources.folders import NO_CLASS, folder_source


def labelled_folder(config: LabelledFolderConfig) -> Source:
    """Images to evaluate on: val/<class>/* or <class>/*, or files named <class>_*;
    without `classes`, the folders' names.

    Raises:
        InputError: there is no such folder, no image in it, or one that is of no class.
    """
    path = config.path
    if path is None or not path.is_dir():
        raise InputError(
            f"{path}: no such folder; expected one with val/<class>/, <class>/ or files named"
            " <class>_*"
        )
    top = path / "val" if (path / "val").is_dir() else path
    entries = sorted(top.iterdir())
    if any(entry.is_dir() for entry in entries):
        inside = [
            (entry.name, file)
            for entry in entries
            if entry.is_dir()
            for file in sorted(entry.iterdir())
        ]
        found = inside + [("", entry) for entry in entries if not entry.is_dir()]
    else:
        found = [
            (entry.name.partition("_")[0] if "_" in entry.name else "", entry) for entry in entries
        ]
    if not any(name for name, _ in found):
        raise InputError(
            f"{path}: holds no images; expected val/<class>/, <class>/ or files named <class>_*"
        )
    names = list(config.classes) if config.classes else sorted({name for name, _ in found if name})
    label_of = {"": NO_CLASS} | {name: label for label, name in enumerate(names)}
    if unknown := next((file for name, file in found if name not in label_of), None):
        raise InputError(f"{unknown}: belongs to none of the {len(names)} classes")
    return folder_source(names, [("val", label_of[name], file) for name, file in found], top)
