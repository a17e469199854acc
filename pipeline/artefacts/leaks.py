"""Validation images whose bytes a training image has too."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc

from pipeline.artefacts.contents import Leak
from pipeline.artefacts.shards import ShardNote, read_shard


def same_bytes(folder: Path, notes: list[ShardNote]) -> list[Leak]:
    """Return each pair of a validation and a training image with the same bytes.

    Only the validation images are in memory.
    """
    val = list(_images(folder, notes, "val"))
    twins: dict[str, list[str]] = {digest: [] for digest, _ in val}
    for digest, name in _images(folder, notes, "train"):
        if digest in twins:
            twins[digest].append(name)
    return [
        Leak(val=name, train=twin, sha256=digest) for digest, name in val for twin in twins[digest]
    ]


def _images(folder: Path, notes: list[ShardNote], split: str) -> Iterator[tuple[str, str]]:
    """Yield the digest of each image's bytes, as the source has them, and its name."""
    for note in notes:
        if note.name.startswith(f"{split}-"):
            for batch in read_shard(folder / note.name).to_batches():
                own = pc.coalesce(batch["source_sha256"], batch["sha256"])
                yield from zip(own.to_pylist(), batch["image_id"].to_pylist(), strict=True)
