"""The bytes of images in shards, each read at its place in a file.

A memory map would read far more than asked: the kernel reads ahead, and Arrow asks it
for whole batches.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.artefacts.shard_maps import MappedShard, unreadable
from pipeline.errors import of_file


class StoredImages:
    """The images of shards by index: the file, the first byte and the number of bytes
    of each.

    A process opens a shard when it reads from it first.

    Raises:
        InputError: the images of a shard are compressed.
    """

    def __init__(self, shards: Sequence[MappedShard]):
        self._files: dict[int, int] = {}
        self._paths = [shard.path for shard in shards]
        places = [_places(shard) for shard in shards]
        self._ends = np.cumsum([len(starts) for starts, _ in places], dtype=np.int64)
        empty = np.empty(0, np.int64)
        self._starts = np.concatenate([empty, *(starts for starts, _ in places)])
        self._sizes = np.concatenate([empty, *(sizes for _, sizes in places)])

    def __len__(self) -> int:
        return len(self._starts)

    def __del__(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}  # another process opens its own

    @property
    def num_bytes(self) -> int:
        """The size of all images."""
        return int(self._sizes.sum())

    def read(self, index: int) -> bytes:
        """Return the bytes of an image; fewer where the file has been cut since.

        Raises:
            InputError: the shard cannot be opened any more.
            StageFailed: the disk fails.
        """
        number = int(np.searchsorted(self._ends, index, side="right"))
        start, left = int(self._starts[index]), int(self._sizes[index])
        try:
            descriptor = self._open(number)
            content = os.pread(descriptor, left, start)
            while len(content) < left and (
                more := os.pread(descriptor, left - len(content), start + len(content))
            ):  # at most 2 GiB come at once
                content += more
        except OSError as error:
            raise of_file(error, self._paths[number]) from error
        return content

    def _open(self, number: int) -> int:
        if number not in self._files:
            descriptor = self._files[number] = os.open(self._paths[number], os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        return self._files[number]


def _places(shard: MappedShard) -> tuple[np.ndarray, np.ndarray]:
    """Return the first byte and the number of bytes of each image of a shard.

    Arrow's buffers are views of the mapped file, so their addresses tell their places.
    """
    starts, sizes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for batch in shard.table["image"].chunks:
        encoded = batch.field("bytes")
        _, ends, values = encoded.buffers()
        offsets = np.frombuffer(ends, np.int32)[encoded.offset :][: len(encoded) + 1]
        if not offsets[-1]:  # all images are empty
            starts.append(np.zeros(len(encoded), np.int64))
        else:
            first = values.address - shard.address
            if not 0 <= first <= shard.size - values.size:
                raise unreadable(shard.path, ValueError("its images are compressed"))
            starts.append(first + offsets[:-1].astype(np.int64))
        sizes.append(np.diff(offsets).astype(np.int64))
    return np.concatenate(starts), np.concatenate(sizes)
