"""Whether a shard holds the rows and the images that it was made with."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from pipeline.artefacts.shard_maps import map_shard
from pipeline.artefacts.shards import ROW, RowsDigest, schema, wnid_of
from pipeline.errors import InputError

BEGINNING = b"ARROW1\0\0"  # of any Arrow file: its magic, filled up to eight bytes


def check_shard(path: Path, classes: Sequence[str]) -> tuple[str, int, list[str]]:
    """Return the digest of a shard's rows, their number, and the damaged images.

    An image is damaged where its bytes do not have its SHA-256.

    Raises:
        InputError: the shard cannot be read, its columns have changed, or a wnid is not
            that of its class.
    """
    with _in_one_line(path):
        table = _sound_table(path, classes, reads_images=True)
        damaged = []
        for batch in table.to_batches():
            names, digests = batch.column("image_id"), batch.column("sha256")
            encoded = batch.column("image").field("bytes")
            for row in range(len(batch)):
                if hashlib.sha256(encoded[row].as_py()).hexdigest() != digests[row].as_py():
                    damaged.append(names[row].as_py())
        return _digest(table, classes), len(table), damaged


def check_columns(path: Path, classes: tuple[str, ...]) -> str:
    """Return the digest of a shard's rows; the bytes of the images are not read.

    Raises:
        InputError: see `check_shard`.
    """
    with _in_one_line(path):
        return _digest(_sound_table(path, classes), classes)


def _sound_table(path: Path, classes: Sequence[str], reads_images: bool = False) -> pa.Table:
    with path.open("rb") as file:
        if file.read(len(BEGINNING)) != BEGINNING:  # pyarrow reads from the end alone
            raise ValueError("does not begin as an Arrow file")
    table = map_shard(path, reads_images).table
    table.validate(full=True)  # else a damaged offset may end the process
    if not table.schema.equals(schema(classes), check_metadata=True):
        raise ValueError("other columns, or other classes")
    return table


def _digest(table: pa.Table, classes: Sequence[str]) -> str:
    digest = RowsDigest(classes)
    for batch in table.to_batches():
        wnids = batch["wnid"].to_pylist()
        columns = (batch[name].to_pylist() for name in ROW)
        for wnid, row in zip(wnids, zip(*columns, strict=True), strict=True):
            if wnid != wnid_of(classes[row[1]]):
                raise ValueError(f"the wnid of {row[0]} is not that of its class")
            digest.add(row)
    return digest.hexdigest()


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # pyarrow raises nearly anything on damaged files
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a shard: {reason}") from None
