"""What can be known of a data set from its manifest alone, without a look at its images."""

from pathlib import Path

from pipeline.adapters import sources
from pipeline.artefacts import storage
from pipeline.errors import InputError
from pipeline.study import PrepareConfig


def num_images(config: PrepareConfig, root: Path, split: str) -> int:
    """Images of a split of a prepared data set; 0 if there is none."""
    try:
        return int(storage.unseal(config, root)["num_images"][split])
    except (InputError, KeyError):
        return 0


def refuse_other_files(config: PrepareConfig, root: Path) -> None:
    """Raise InputError if a path is given whose files are not those that the finished data set was made from."""
    if config.path is None:
        return
    if sources.open_source(config).fingerprint != storage.unseal(config, root)["source_fingerprint"]:
        raise InputError(
            f"{config.path}: holds other files than those {root / config.folder} was made from; choose another --root"
        )
