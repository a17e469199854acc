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

# `source` of a config -> file and function of this folder that reads it. The file is
# imported when it is needed: some take a second
READERS = {
    "digits": "digits:digits",
    "imagefolder": "imagefolder:imagefolder",
    "labelled_folder": "labelled_folder:labelled_folder",
    "ilsvrc2012": "ilsvrc:ilsvrc2012",
    "hub": "hub:hub",
    "datasets": "saved_datasets:saved_datasets",
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


def refuse_other_files(config: PrepareConfig, root: Path) -> None:
    """Raise InputError if a path is given whose files are not those that the finished
    data set was made from.
    """
    if not isinstance(config, FolderConfig) or config.path is None:
        return
    if open_source(config).fingerprint != sealing.DATASET.unseal(config, root).source_fingerprint:
        raise InputError(
            f"{config.path}: holds other files than those {root / config.folder} was made from;"
            " choose another --root"
        )
