"""datasets/<hash>/: the encoded images and their labels as memory-mapped Arrow shards, and the manifest that names them.

`datasets.load_dataset("arrow", data_files=...)` opens the shards without this code.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.artefacts import storage
from pipeline.study import PrepareConfig

SHARD_BYTES = 256 * 2**20  # ours: few inodes, and small enough to copy or repair one
SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "image": pa.binary(),
        "label": pa.int32(),
        "width": pa.int32(),
        "height": pa.int32(),
        "sha256": pa.string(),
    }
)
ROWS_PER_BATCH = 64
REJECTED = "rejected.jsonl"


class Record(NamedTuple):
    """One image: its encoded bytes, 0-based label, and size in pixels (0 where it cannot be decoded)."""

    image_id: str
    image: bytes
    label: int
    width: int
    height: int
    sha256: str


class Rejected(NamedTuple):
    """A file of the source that cannot be used, and why.

    `keeps_slot`: it is an image of the validation split, so it stays there, without a size, and counts as an error.
    """

    split: str
    name: str
    reason: str
    keeps_slot: bool = False


class Split:
    """The images of one split by index 0 .. len - 1, in the order of the source. Reads nothing until asked."""

    def __init__(self, shards: Iterable[Path]):
        maps = [pa.ipc.open_file(pa.memory_map(str(path))).read_all() for path in shards]
        self._table = pa.concat_tables(maps) if maps else SCHEMA.empty_table()
        self.labels: np.ndarray = self._table["label"].to_numpy().astype(np.int64)
        self.image_ids: list[str] = self._table["image_id"].to_pylist()

    def __len__(self) -> int:
        return len(self.labels)

    def encoded(self, index: int) -> bytes:
        """The image file's bytes."""
        value: bytes = self._table["image"][index].as_py()
        return value

    def sha256(self, index: int) -> str:
        """SHA-256 of the image file's bytes, as they were prepared."""
        value: str = self._table["sha256"][index].as_py()
        return value


class Dataset:
    """A prepared data set under `root`; splits are `train` and `val`.

    Raises:
        InputError: it is not complete.
    """

    def __init__(self, config: PrepareConfig, root: Path):
        self.folder = root / config.folder
        self.manifest: dict[str, Any] = storage.unseal(config, root)
        self.classes: list[str] = self.manifest["classes"]
        self.num_classes = len(self.classes)

    def num_rejected(self, split: str) -> int:
        """How many files of a split's source are not in the data set; `rejected.jsonl` names them."""
        rejected = [Rejected(**json.loads(line)) for line in (self.folder / REJECTED).read_text().splitlines()]
        return sum(item.split == split and not item.keeps_slot for item in rejected)

    def split(self, name: str) -> Split:
        """All images of a split."""
        return Split(self.folder / shard for shard in sorted(self.manifest["files"]) if shard.startswith(f"{name}-"))


def write_shards(folder: Path, split: str, records: Iterable[Record]) -> Iterator[Path]:
    """Write records to `folder` as shards `<split>-00000.arrow` ...; yields each path when its shard is whole."""
    for number, shard in enumerate(_by_size(records)):
        path = folder / f"{split}-{number:05d}.arrow"
        with pa.ipc.new_file(str(path), SCHEMA) as writer:
            for start in range(0, len(shard), ROWS_PER_BATCH):
                columns = zip(*shard[start : start + ROWS_PER_BATCH], strict=True)
                arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
                writer.write_batch(pa.record_batch(arrays, schema=SCHEMA))
        yield path


def _by_size(records: Iterable[Record]) -> Iterator[list[Record]]:
    shard: list[Record] = []
    size = 0
    for record in records:
        shard.append(record)
        size += len(record.image)
        if size >= SHARD_BYTES:
            yield shard
            shard, size = [], 0
    if shard:
        yield shard


def write_rejected(folder: Path, rejected: Iterable[Rejected]) -> Path:
    """Write rejected.jsonl: one line for each file that cannot be used, with its reason."""
    path = folder / REJECTED
    storage.write_atomic(path, "".join(json.dumps(item._asdict()) + "\n" for item in rejected).encode())
    return path
