"""Validation images whose bytes a training image has too."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc

from pipeline.artefacts.contents import Leak
from pipeline.artefacts.shard_maps import read_shard
from pipeline.artefacts.shards import ShardNote


def same_bytes(folder: Path, notes: list[ShardNote]) -> list[Leak]:
    """Return the validation and the training images that share their bytes, once for
    each content.

    Only the validation images are in memory.
    """
    val: dict[str, list[str]] = {}
    for digest, name in _images(folder, notes, "val"):
        val.setdefault(digest, []).append(name)
    train: dict[str, list[str]] = {}
    for digest, name in _images(folder, notes, "train"):
        if digest in val:
            train.setdefault(digest, []).append(name)
    return [
        Leak(sha256=digest, val=names, train=train[digest])
        for digest, names in val.items()
        if digest in train
    ]


def _images(folder: Path, notes: list[ShardNote], split: str) -> Iterator[tuple[str, str]]:
    """Yield the digest of each image's bytes, as the source has them, and its name."""
    for note in notes:
        if note.name.startswith(f"{split}-"):
            for batch in read_shard(folder / note.name).to_batches():
                own = pc.coalesce(batch["source_sha256"], batch["sha256"])
                yield from zip(own.to_pylist(), batch["image_id"].to_pylist(), strict=True)
