"""Shards mapped from their files, so that only what is asked for is read."""

import mmap
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from pipeline.errors import InputError


class MappedShard(NamedTuple):
    """A shard as a table that is mapped from its file: `address` is where the file
    begins in memory, and `size` how many bytes it has.
    """

    path: Path
    table: pa.Table
    address: int
    size: int


def map_shard(path: Path, reads_images: bool = False) -> MappedShard:
    """Map a shard: rows are read at their first use.

    The kernel reads ahead what is beside the images, and the images too where the
    caller reads them all, in order.

    Raises:
        InputError: the shard is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        content.madvise(mmap.MADV_SEQUENTIAL if reads_images else mmap.MADV_RANDOM)
        # not pa.memory_map, which asks the kernel for each batch as a whole
        buffer = pa.py_buffer(content)
        table = pa.ipc.open_file(pa.BufferReader(buffer)).read_all()
        if not reads_images:
            _read_ahead(content, buffer, table)
        return MappedShard(path, table, buffer.address, buffer.size)
    except Exception as error:  # pyarrow raises nearly anything on damaged files
        raise unreadable(path, error) from None


def read_shard(path: Path) -> pa.Table:
    """Return the table of `map_shard`.

    Raises:
        InputError: the shard is missing or damaged.
    """
    return map_shard(path).table


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the error of a shard that cannot be read."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return InputError(f"{path}: cannot be read as a shard: {reason}; see going-deeper data verify")


def _read_ahead(content: mmap.mmap, whole: pa.Buffer, table: pa.Table) -> None:
    """Ask the kernel for all columns of a table but the bytes of images."""
    for name in table.schema.names:
        for array in table[name].chunks:
            large = array.field("bytes").buffers()[2] if name == "image" else None
            for buffer in array.buffers():
                if buffer is None or (large is not None and buffer.address == large.address):
                    continue
                first = buffer.address - whole.address
                page = first - first % mmap.PAGESIZE
                if first >= 0 and buffer.size and first + buffer.size <= whole.size:
                    content.madvise(mmap.MADV_WILLNEED, page, first - page + buffer.size)
