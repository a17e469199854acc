"""The sources by name. A new source is a class of its fields in configs/prepare.py, a
file of this folder with its reader, and a line here.
"""

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name

from pipeline.artefacts import sealing
from pipeline.configs.prepare import FolderConfig, PrepareConfig
from pipeline.errors import InputError
from pipeline.sources.base import Source
from pipeline.sources.class_order import by_number
from pipeline.sources.clutter import in_words

# `source` of a config -> file and function of this folder that reads it. The file is
# imported when it is needed: some take a second
READERS = {
    "digits": "digits:digits",
    "imagefolder": "imagefolder:imagefolder",
    "labelled_folder": "labelled_folder:labelled_folder",
    "ilsvrc2012": "ilsvrc:ilsvrc2012",
    "hub": "hub:hub",
    "datasets": "saved_datasets:saved_datasets",
    "unsplit_folder": "unsplit_folder:unsplit_folder",
    "webdataset": "webdataset:webdataset",
    "listed": "listed:listed",
}


def open_source(config: PrepareConfig) -> Source:
    """The source that a config names.

    Raises:
        InputError: the path is missing or is not what the source needs.
    """
    read: Callable[[PrepareConfig], Source] = resolve_name(
        f"pipeline.sources.{READERS[config.source]}"
    )
    return read(config)


def refuse_other_files(config: PrepareConfig, root: Path, compare_content: bool = True) -> None:
    """Raise InputError if a finished data set has numbers as classes in the order of
    text, as earlier versions made it, or if a path is given whose files are not those
    that it was made from. By default that is by content too; else by names and sizes.
    """
    made, folder = sealing.DATASET.unseal(config, root), root / config.folder
    if getattr(config, "classes", None) is None and made.classes != by_number(made.classes, folder):
        first = ", ".join(made.classes[:3])
        raise InputError(
            f"{folder}: has numbers as classes in the order of text ({first}), as earlier versions"
            " took them, so that its labels are not these numbers; choose another --root"
        )
    if not isinstance(config, FolderConfig) or config.path is None:
        return
    source = open_source(config)
    if source.fingerprint != made.source_fingerprint:
        why = (
            f" ({in_words(source.left_out)}; earlier versions took all files)"
            if source.left_out and not made.left_out
            else ""
        )
        raise InputError(
            f"{config.path}: holds other files than those {folder} was made from{why}; choose"
            " another --root"
        )
    if source.is_of_files and compare_content:
        # it takes pyarrow, which a look at a study does without
        resolve_name("pipeline.sources.copies:refuse_other_content")(config, source, root)
