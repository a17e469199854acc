"""The steps of a data set's life, as benchmark full-scale times them."""

from pathlib import Path

from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.leaks import same_bytes
from pipeline.artefacts.shards import read_note
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import StageFailed


def verify_data(config: PrepareConfig, root: Path) -> None:
    """Compare every row and image with their digests.

    Raises:
        StageFailed: a file is damaged.
    """
    from pipeline.tools.verify_data import verify

    for state in verify(config, root, processes=1):
        if state.problem:
            raise StageFailed(f"{state.file}: {state.problem}")


def look_for_leaks(config: PrepareConfig, root: Path) -> None:
    """Look for images that both splits have, alone, as the preparation does last.

    Raises:
        StageFailed: there are some, which a made-up data set has not.
    """
    data = Dataset(config, root)
    folder = data.folder / data.manifest.shards
    notes = [note for path in sorted(folder.glob("*.json")) if (note := read_note(path))]
    if leaks := same_bytes(folder, notes):
        raise StageFailed(f"{folder}: {len(leaks)} images are in both splits; expected none")


def open_splits(config: PrepareConfig, root: Path) -> None:
    """Open both splits, and read an image of each."""
    data = Dataset(config, root)
    for split in ("train", "val"):
        images = data.split(split)
        images.encoded(len(images) - 1)
