"""Shards: the Arrow files that hold a data set's images, and a note on each.

Hugging Face's `datasets` opens them too.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from pipeline.configs.base import Frozen
from pipeline.runtime import disk

WNID = re.compile(r"n\d{8}")
BATCH_BYTES = 16 * 2**20  # ours: bytes of images in memory while a shard is written
COLUMNS = {
    "image_id": pa.string(),
    "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    "label": pa.int64(),
    "wnid": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "sha256": pa.string(),
    "source_sha256": pa.string(),
}

# the columns that the digest of rows covers, in its order
ROW = ("image_id", "label", "width", "height", "sha256", "source_sha256")


class Record(NamedTuple):
    """One image: its encoded bytes, its label (from 0 on) and its size in pixels.

    The size is 0 where the image cannot be decoded. `sha256` is of the bytes;
    `source_sha256` is of the source's bytes, where the image was encoded anew.
    """

    image_id: str
    image: bytes
    label: int
    width: int
    height: int
    sha256: str
    source_sha256: str | None = None


class Rejected(NamedTuple):
    """A file of the source that cannot be used, and why.

    Where it `keeps_slot`, it is an image of the validation split: it stays there,
    without a size, and counts as an error.
    """

    split: str
    name: str
    reason: str
    keeps_slot: bool = False


class ShardNote(Frozen):
    """A note on a shard: what became of the source's files.

    It counts, by label, `files` of the source, usable `images`, and `unreadable` images
    that keep a slot. `left_out` counts clutter, by pattern. `digest` covers the rows:
    everything that the shard holds.
    """

    name: str
    digest: str
    num_bytes: int
    files: dict[int, int]
    images: dict[int, int]
    unreadable: dict[int, int]
    rejected: tuple[Rejected, ...]
    left_out: dict[str, int] | None = None
    image_bytes: int | None = None  # of the images alone
    plan: str | None = None  # stands for the files that it was made from


def schema(classes: Sequence[str]) -> pa.Schema:
    """Return the columns of a shard, with metadata for `datasets`.

    The metadata says which column holds images, and names the labels.
    """
    features: dict[str, Any] = {
        name: {"dtype": str(kind), "_type": "Value"} for name, kind in COLUMNS.items()
    }
    features["image"] = {"_type": "Image"}
    features["label"] = {"names": list(classes), "_type": "ClassLabel"}
    info = json.dumps({"info": {"features": features}})
    return pa.schema(list(COLUMNS.items()), metadata={"huggingface": info})


def write_shard(
    path: Path, classes: Sequence[str], records: Iterable[Record], num_bytes: int | None = None
) -> str:
    """Write a shard, whole or not at all, and return the digest of its rows.

    `num_bytes` is about its size, for the error of a full disk.
    """
    digest, layout = RowsDigest(classes), schema(classes)
    with disk.beside(path, num_bytes) as temporary:
        with temporary.open("wb") as file:
            with pa.ipc.new_file(file, layout) as writer:
                for batch in _batches(records):
                    for record in batch:
                        digest.update(record)
                    writer.write_batch(_arrow(batch, classes, layout))
            file.flush()
            os.fsync(file.fileno())
        disk.rename(temporary, path)
    return digest.hexdigest()


class RowsDigest:
    """SHA-256 of the classes and of all rows of a shard.

    An image enters by its own SHA-256. No byte of Arrow's format enters.
    """

    def __init__(self, classes: Sequence[str]):
        self._digest = hashlib.sha256(json.dumps(list(classes)).encode())

    def update(self, record: Record) -> None:
        """Add a row."""
        self.add((record.image_id, *record[2:]))

    def add(self, row: tuple[Any, ...]) -> None:
        """Add a row, as its columns `ROW`."""
        self._digest.update(json.dumps(row).encode())

    def hexdigest(self) -> str:
        """Return the digest of the rows so far, in hex."""
        return self._digest.hexdigest()


def wnid_of(name: str) -> str | None:
    """Return a class's name if it is a wnid, else None."""
    return name if WNID.fullmatch(name) else None


def read_note(path: Path) -> ShardNote | None:
    """Read a shard's note; None where it is missing or damaged."""
    try:
        return ShardNote.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    size = 0
    for record in records:
        batch.append(record)
        size += len(record.image)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _arrow(batch: list[Record], classes: Sequence[str], layout: pa.Schema) -> pa.RecordBatch:
    columns: dict[str, list[Any]] = dict(
        zip(Record._fields, map(list, zip(*batch, strict=True)), strict=True)
    )
    columns["wnid"] = [wnid_of(classes[label]) for label in columns["label"]]
    ends = np.cumsum([0, *map(len, columns["image"])], dtype=np.int32)
    # pa.array() would copy more than once
    content = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(columns["image"]))]
    encoded = pa.Array.from_buffers(pa.binary(), len(batch), content)
    paths = pa.nulls(len(batch), pa.string())
    arrays = [
        (
            pa.StructArray.from_arrays([encoded, paths], ["bytes", "path"])
            if name == "image"
            else pa.array(columns[name], kind)
        )
        for name, kind in COLUMNS.items()
    ]
    return pa.record_batch(arrays, schema=layout)
