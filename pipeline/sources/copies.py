"""Whether a folder of images still has the content that a data set was made from.

Names and sizes tell it quickly. A folder that was written at another time, as a copy
is, is read once.
"""

import hashlib
import sys
from itertools import chain
from pathlib import Path

from pipeline.artefacts.dataset import Dataset
from pipeline.configs.prepare import FolderConfig
from pipeline.errors import InputError
from pipeline.runtime import disk
from pipeline.sources.base import Source
from pipeline.sources.shard_writer import plan_of

COPIES = "copies"  # the folder of a data set that names the copies that were compared


def refuse_other_content(config: FolderConfig, source: Source, root: Path) -> None:
    """Compare the content of a folder with the images that were made from one of the
    same names and sizes.

    Raises:
        InputError: a file has another content.
    """
    data, plan = Dataset(config, root), plan_of(config, source)
    compared = data.folder / COPIES / plan
    if plan == Path(data.manifest.shards).name or compared.exists():
        return
    print(
        f"{config.path}: was written at another time than the folder that {data.folder} was made"
        " from; their contents are compared",
        file=sys.stderr,
    )
    digests = _digests(data)
    for file in chain.from_iterable(map(source.read, source.pieces())):
        expected = digests.get((file.split, file.name))
        if file.encoded is None or expected is None:  # it was rejected then
            continue
        if hashlib.sha256(file.encoded).hexdigest() != expected:
            raise InputError(
                f"{config.path}: {file.name} has another content than the image that {data.folder}"
                " was made from; choose another --root"
            )
    disk.write_atomic(compared, b"")


def _digests(data: Dataset) -> dict[tuple[str, str], str]:
    """Return the SHA-256 of the source's file of each image, by split and name."""
    digests: dict[tuple[str, str], str] = {}
    for split in ("train", "val"):
        images = data.split(split)
        columns = (
            images.column(name).to_pylist() for name in ("image_id", "source_sha256", "sha256")
        )
        for name, source, own in zip(*columns, strict=True):
            digests[split, name] = source or own
    return digests
