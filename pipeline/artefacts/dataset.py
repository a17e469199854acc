"""datasets/<hash>/: encoded images and labels in Arrow shards, and their manifest.

The shards lie in shards/<plan>/, each with a note. A plan stands for the files that
the shards are made from, so two plans never mix.
`datasets.load_dataset("arrow", data_files=...)` opens them without this code.
"""

import hashlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from pipeline.artefacts import sealing
from pipeline.artefacts.contents import Leak
from pipeline.artefacts.digests import compare, remedy_of
from pipeline.artefacts.shard_checks import check_columns
from pipeline.artefacts.shard_maps import MappedShard, map_shard
from pipeline.artefacts.shards import COLUMNS, Rejected
from pipeline.artefacts.stored_images import StoredImages
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError, StageFailed

REJECTED, LEAKS = "rejected.jsonl", "leaks.jsonl"
REJECTED_ROWS, LEAK_ROWS = TypeAdapter(list[Rejected]), TypeAdapter(list[Leak])


class Split:
    """The images of one split by index 0 .. len - 1, in the order of the source.

    An image is read when it is asked for, and compared with its digest then.

    Raises:
        InputError: a shard is missing or damaged.
    """

    def __init__(self, shards: Iterable[Path]):
        self._paths = list(shards)
        mapped = [map_shard(path) for path in self._paths]
        self._images = StoredImages(mapped)
        self.labels: np.ndarray = _column(mapped, "label").to_numpy().astype(np.int64)
        self._digests = _as_bytes(_column(mapped, "sha256"))
        self._is_sound = np.zeros(len(self.labels), bool)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_bytes(self) -> int:
        """The size of all encoded images."""
        return self._images.num_bytes

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a column of the shards, such as `width`, from their files."""
        return _column([map_shard(path) for path in self._paths], name)

    @cached_property
    def image_ids(self) -> list[str]:
        """The names of all images."""
        names: list[str] = self.column("image_id").to_pylist()
        return names

    def encoded(self, index: int) -> bytes:
        """Return the bytes of an image file.

        A process compares them with their digest when it reads them first.

        Raises:
            StageFailed: they are not those that were prepared.
        """
        value = self._images.read(index)
        if self._is_sound[index]:
            return value
        if hashlib.sha256(value).digest() != self._digests[index].tobytes():
            raise StageFailed(
                f"image {self._name(index)}: its bytes are not those that were prepared"
                " (SHA-256 differs); going-deeper data verify --repair makes them again"
            )
        self._is_sound[index] = True
        return value

    def _name(self, index: int) -> str:
        try:
            return self.image_ids[index]
        except InputError:  # its shard cannot be read any more
            return f"number {index}"


def _column(shards: Iterable[MappedShard], name: str) -> pa.ChunkedArray:
    chunks = [chunk for shard in shards for chunk in shard.table[name].chunks]
    return pa.chunked_array(chunks, COLUMNS[name])


def _as_bytes(digests: pa.ChunkedArray) -> np.ndarray:
    """Return SHA-256 digests in hex as N x 32 bytes."""
    content = b"".join(
        bytes.fromhex("".join(chunk.to_pylist())) for chunk in digests.chunks if len(chunk)
    )
    return np.frombuffer(content, np.uint8).reshape(len(digests), hashlib.sha256().digest_size)


class Dataset:
    """A prepared data set under `root`; splits are `train` and `val`.

    Raises:
        InputError: the data set is not complete.
    """

    def __init__(self, config: PrepareConfig, root: Path):
        self.config, self.root = config, root
        self.folder = root / config.folder
        self.manifest = sealing.DATASET.unseal(config, root)
        self.classes = self.manifest.classes
        self.num_classes = len(self.classes)
        self.shards_folder = self.folder / self.manifest.shards

    @property
    def rejected(self) -> list[Rejected]:
        """The files of the source that cannot be used."""
        path = sealing.sealed_file(self.config, self.root, REJECTED)
        return sealing.read_rows(path, REJECTED_ROWS)

    @property
    def leaks(self) -> list[Leak]:
        """Validation images (`val`) whose bytes a training image (`train`) has too."""
        return sealing.read_rows(sealing.sealed_file(self.config, self.root, LEAKS), LEAK_ROWS)

    def num_rejected(self, split: str) -> int:
        """Return how many files of a split's source are not in the data set."""
        return sum(item.split == split and not item.keeps_slot for item in self.rejected)

    def shards(self, split: str) -> list[Path]:
        """Return the shards of a split, in order."""
        return [
            self.shards_folder / name
            for name in sorted(self.manifest.files)
            if name.startswith(f"{split}-")
        ]

    def split(self, name: str) -> Split:
        """Return the images of a split, once its labels and names are compared with
        their digests.

        Raises:
            InputError: a shard is missing or damaged.
        """
        remedy, classes = remedy_of(self.config, self.root), tuple(self.classes)
        for path in self.shards(name):
            compare(path, self.manifest.files[path.name], remedy, check_columns, classes)
        return Split(self.shards(name))
