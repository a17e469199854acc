"""Validation images whose bytes a training image has too."""

from itertools import chain
from pathlib import Path

import pyarrow.compute as pc

from pipeline.artefacts.contents import Leak
from pipeline.artefacts.shards import ShardNote, read_shard


def same_bytes(folder: Path, notes: list[ShardNote]) -> list[Leak]:
    """Return each pair of a validation and a training image with the same bytes."""
    columns = {}
    for split in ("train", "val"):
        tables = [
            read_shard(folder / note.name) for note in notes if note.name.startswith(f"{split}-")
        ]
        names = [name for table in tables for name in table["image_id"].to_pylist()]
        own = [pc.coalesce(table["source_sha256"], table["sha256"]).to_pylist() for table in tables]
        columns[split] = list(zip(chain.from_iterable(own), names, strict=True))
    train: dict[str, list[str]] = {}
    for digest, name in columns["train"]:
        train.setdefault(digest, []).append(name)
    return [
        Leak(val=name, train=twin, sha256=digest)
        for digest, name in columns["val"]
        for twin in train.get(digest, ())
    ]
