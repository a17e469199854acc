"""What sources that Hugging Face `datasets` loads have in common: their rows."""

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow.compute as pc

from pipeline.configs.prepare import TablesConfig
from pipeline.errors import InputError, first_line
from pipeline.images.decode import MAX_BYTES
from pipeline.sources.base import Piece, Source, SourceFile, text_of
from pipeline.sources.labels import Labels, labels_of

Splits = dict[str, "datasets.Dataset"]


@contextmanager
def loading(where: str) -> Iterator[None]:
    """`datasets` is quiet here, and whatever it raises becomes one line.

    Raises:
        InputError: it cannot load what lies `where`.
    """
    datasets.disable_progress_bars()
    for name in ("datasets", "huggingface_hub"):
        # what they would say is in the error, and that is one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of the network, of a cache, of a file: nearly anything
        raise InputError(f"{where}: cannot be loaded: {first_line(error)}") from None


def table_source(
    config: TablesConfig, loaded: Splits, where: str, revision: str | None = None
) -> Source:
    """The rows of a train and a validation split with one image column and one label
    column.

    Raises:
        InputError: there is no such split or column.
    """
    wanted = {"train": config.train_split, "val": config.val_split}
    for split in config.splits:
        if wanted[split] not in loaded:
            raise InputError(
                f"{where}: has no split {wanted[split]}; it has {', '.join(loaded)}: set"
                f" {split}_split (--{split}-split), or go without train by --only-val"
            )
    splits = {split: loaded[wanted[split]] for split in config.splits}
    # else it would copy all the data
    if any(getattr(found, "_indices", None) is not None for found in splits.values()):
        splits = {split: found.flatten_indices() for split, found in splits.items()}
    image = _image_column(splits["val"].features, where)
    labels = labels_of(splits, where, config.label_column, config.classes)
    splits = {
        split: found.cast_column(image, datasets.Image(decode=False))
        for split, found in splits.items()
    }
    pieces = _pieces(splits, image, labels)
    stated = [revision, labels.classes, [(piece.label, piece.size) for piece in pieces]]
    return Source(
        classes=[text_of(name) for name in labels.classes],
        fingerprint=hashlib.sha256(repr(stated).encode()).hexdigest(),
        pieces=lambda: pieces,
        read=partial(_read, splits, image, len(labels.classes), Path(where)),
        notes=labels.notes,
    )


def _image_column(features: Any, where: str) -> str:
    """Return the column of images, or of their bytes: a binary one, or one of {bytes,
    path}, as tables without metadata have it.
    """
    names = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    names = names or [name for name, feature in features.items() if _holds_bytes(feature)]
    if len(names) != 1:
        has = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        raise InputError(
            f"{where}: has {len(names)} columns of images, expected one (an Image, bytes, or"
            f" {{bytes, path}}); its columns: {has}"
        )
    return str(names[0])


def _holds_bytes(feature: Any) -> bool:
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return getattr(feature, "dtype", "") in ("binary", "large_binary")


def _pieces(splits: Splits, image: str, labels: Labels) -> list[Piece]:
    found = []
    for split, rows in splits.items():
        sizes = [
            size or 0
            for chunk in rows.data.column(image).chunks
            for size in pc.binary_length(pc.struct_field(chunk, "bytes")).to_pylist()
        ]
        values = rows.data.column(labels.column).to_pylist()
        for row, (size, value) in enumerate(zip(sizes, values, strict=True)):
            label = labels.places.get(value, value if isinstance(value, int) else -1)
            found.append(Piece(split, f"{split}/{row:08d}", label, size, row))
    return found


def _read(
    splits: Splits, image: str, num_classes: int, folder: Path, piece: Piece
) -> Iterator[SourceFile]:
    found = splits[piece.split][piece.offset][image]
    encoded = found["bytes"] if found else None
    if found and encoded is None and found["path"]:
        encoded = _inside(folder, found["path"])
    name = (
        f"{piece.name}/{Path(text_of(found['path'])).name}"
        if found and found["path"]
        else piece.name
    )
    if not 0 <= piece.label < num_classes:
        yield SourceFile(piece.split, name, -1, None, f"label {piece.label} is none of the classes")
    elif encoded is None:
        yield SourceFile(piece.split, name, piece.label, None, "the row has no bytes of an image")
    elif len(encoded) > MAX_BYTES:
        yield SourceFile(
            piece.split, name, piece.label, None, f"has {len(encoded)} bytes, more than {MAX_BYTES}"
        )
    else:
        yield SourceFile(piece.split, name, piece.label, encoded)


def _inside(folder: Path, name: str) -> bytes | None:
    """Return a file of the source's folder; a path out of it is not opened."""
    path = folder / name
    if Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        return None
    return path.read_bytes() if path.is_file() and path.stat().st_size <= MAX_BYTES else None
