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
from pipeline.sources.class_order import by_number, numbers_in_words

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
    """The rows of a train and a validation split with one image column and one class
    label column.

    Raises:
        InputError: there is no such split or column.
    """
    wanted = {"train": config.train_split, "val": config.val_split}
    for split in config.splits:
        if wanted[split] not in loaded:
            raise InputError(
                f"{where}: has no split {wanted[split]}; it has {', '.join(loaded)}: set"
                f" {split}_split"
            )
    splits = {split: loaded[wanted[split]] for split in config.splits}
    # else it would copy all the data
    if any(getattr(found, "_indices", None) is not None for found in splits.values()):
        splits = {split: found.flatten_indices() for split, found in splits.items()}
    image, label = _columns(splits["val"], where)
    names = {split: list(found.features[label].names) for split, found in splits.items()}
    if names.get("train", names["val"]) != names["val"]:
        raise InputError(
            f"{where}: the splits {wanted['train']} and {wanted['val']} have other class names"
        )
    splits = {
        split: found.cast_column(image, datasets.Image(decode=False))
        for split, found in splits.items()
    }
    classes = by_number(names["val"], where)
    place = {number: classes.index(name) for number, name in enumerate(names["val"])}
    pieces = [
        piece._replace(label=place.get(piece.label, piece.label))
        for piece in _pieces(splits, image, label)
    ]
    stated = [revision, classes, [(piece.label, piece.size) for piece in pieces]]
    return Source(
        classes=[text_of(name) for name in classes],
        fingerprint=hashlib.sha256(repr(stated).encode()).hexdigest(),
        pieces=lambda: pieces,
        read=partial(_read, splits, image, len(classes)),
        notes=numbers_in_words(classes, "names of the classes") if classes != names["val"] else (),
    )


def _columns(split: Any, where: str) -> tuple[str, str]:
    found = []
    for kind in (datasets.Image, datasets.ClassLabel):
        names = [name for name, feature in split.features.items() if isinstance(feature, kind)]
        if len(names) != 1:
            has = ", ".join(
                f"{name} ({type(feature).__name__})" for name, feature in split.features.items()
            )
            raise InputError(
                f"{where}: has {len(names)} columns of kind {kind.__name__}, expected one; its"
                f" columns: {has}"
            )
        found += names
    return found[0], found[1]


def _pieces(splits: Splits, image: str, label: str) -> list[Piece]:
    found = []
    for split, rows in splits.items():
        sizes = [
            size or 0
            for chunk in rows.data.column(image).chunks
            for size in pc.binary_length(pc.struct_field(chunk, "bytes")).to_pylist()
        ]
        labels = rows.data.column(label).to_pylist()
        for row, (size, number) in enumerate(zip(sizes, labels, strict=True)):
            found.append(
                Piece(split, f"{split}/{row:08d}", -1 if number is None else number, size, row)
            )
    return found


def _read(splits: Splits, image: str, num_classes: int, piece: Piece) -> Iterator[SourceFile]:
    found = splits[piece.split][piece.offset][image]
    encoded = found["bytes"] if found else None
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
