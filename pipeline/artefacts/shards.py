"""How a data set's images lie in files: Arrow shards that Hugging Face `datasets` opens
too, and a note on each.
"""

import hashlib
import json
import os
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from pipeline.configs.base import Frozen
from pipeline.errors import InputError
from pipeline.runtime import disk

WNID = re.compile(r"n\d{8}")
BATCH_BYTES = 16 * 2**20  # ours: held in memory while a shard is written
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


class Record(NamedTuple):
    """One image: its encoded bytes, 0-based label, size in pixels (0 where it cannot be
    decoded), and the SHA-256 of the bytes. Where the bytes were encoded anew, also the
    SHA-256 of the bytes in the source.
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

    `keeps_slot`: it is an image of the validation split, so it stays there, without a
        size, and counts as an error.
    """

    split: str
    name: str
    reason: str
    keeps_slot: bool = False


class ShardNote(Frozen):
    """What became of a shard's pieces. By label: `files` of the source, usable
    `images`, `unreadable` ones that keep a slot; `left_out` counts clutter, by pattern.

    `digest` is of the rows: of everything that the shard holds.
    """

    name: str
    digest: str
    num_bytes: int
    files: dict[int, int]
    images: dict[int, int]
    unreadable: dict[int, int]
    rejected: tuple[Rejected, ...]
    left_out: dict[str, int] | None = None


def schema(classes: Sequence[str]) -> pa.Schema:
    """The columns, with the metadata that `datasets` reads: which column is the image,
    and the names of the labels.
    """
    features: dict[str, Any] = {
        name: {"dtype": str(kind), "_type": "Value"} for name, kind in COLUMNS.items()
    }
    features["image"] = {"_type": "Image"}
    features["label"] = {"names": list(classes), "_type": "ClassLabel"}
    info = json.dumps({"info": {"features": features}})
    return pa.schema(list(COLUMNS.items()), metadata={"huggingface": info})


def write_shard(path: Path, classes: Sequence[str], records: Iterable[Record]) -> str:
    """Write a shard, whole or not at all, and return the digest of its rows."""
    digest, layout = RowsDigest(classes), schema(classes)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.getpid()}.{socket.gethostname()}"
    try:
        with temporary.open("wb") as file:
            with pa.ipc.new_file(file, layout) as writer:
                for batch in _batches(records):
                    for record in batch:
                        digest.update(record)
                    writer.write_batch(_arrow(batch, classes, layout))
            file.flush()
            os.fsync(file.fileno())
        disk.rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest.hexdigest()


def remove_unfinished(folder: Path) -> None:
    """Remove shards whose process on this machine was killed: each may be as large as a
    whole shard.
    """
    for path in folder.glob(".*.arrow.*.*"):
        process, host = path.name.split(".", 4)[3:]
        if host == socket.gethostname() and not Path("/proc", process).exists():
            path.unlink(missing_ok=True)


class RowsDigest:
    """SHA-256 of the classes and all rows of a shard. It covers the images by their own
    SHA-256, and none of Arrow's own bytes.
    """

    def __init__(self, classes: Sequence[str]):
        self._digest = hashlib.sha256(json.dumps(list(classes)).encode())

    def update(self, record: Record) -> None:
        """Add a row."""
        row = (record.image_id, *record[2:])
        self._digest.update(json.dumps(row).encode())

    def hexdigest(self) -> str:
        """The digest in hex."""
        return self._digest.hexdigest()


def read_shard(path: Path) -> pa.Table:
    """Open a shard, memory-mapped: nothing is read before it is used.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except Exception as error:  # pyarrow raises nearly anything on damaged files
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path}: cannot be read as a shard: {message}; see going-deeper data verify"
        ) from None


def check_shard(path: Path, classes: Sequence[str]) -> tuple[str, int, list[str]]:
    """Return the digest of the rows of a shard as they are now, their number, and the
    images whose bytes do not match their SHA-256.

    Raises:
        InputError: it cannot be read, or its columns are not what they were.
    """
    digest, damaged, count = RowsDigest(classes), [], 0
    table = read_shard(path)
    try:
        table.validate(full=True)  # else a damaged offset may end the process
        if not table.schema.equals(schema(classes), check_metadata=True):
            raise ValueError("other columns, or other classes")
        wnids = table["wnid"].to_pylist()
        for record in _records(table):
            digest.update(record)
            if wnids[count] != wnid_of(classes[record.label]):
                raise ValueError(f"the wnid of {record.image_id} is not that of its class")
            if hashlib.sha256(record.image).hexdigest() != record.sha256:
                damaged.append(record.image_id)
            count += 1
    except Exception as error:  # pyarrow raises nearly anything on damaged files
        message = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a shard: {message}") from None
    return digest.hexdigest(), count, damaged


def wnid_of(name: str) -> str | None:
    """The class's name if it is a wnid."""
    return name if WNID.fullmatch(name) else None


def _records(table: pa.Table) -> Iterator[Record]:
    for batch in table.to_batches():
        columns = {name: batch.column(name) for name in COLUMNS if name not in ("wnid", "image")}
        encoded = batch.column("image").field("bytes")
        for row in range(len(batch)):
            values = {name: column[row].as_py() for name, column in columns.items()}
            yield Record(image=encoded[row].as_py(), **values)


def read_note(path: Path) -> ShardNote | None:
    """Read the note on a shard; None if there is no valid one. Then the shard is made
    anew.
    """
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
