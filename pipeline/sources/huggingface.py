"""Sources that Hugging Face `datasets` reads: a data set of the Hub, what
`save_to_disk` wrote, a folder of parquet files.
"""

import hashlib
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow.compute as pc

from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.images.decode import MAX_BYTES
from pipeline.sources.base import Piece, Source, SourceFile, text_of
from pipeline.sources.ilsvrc import judge

Splits = dict[str, "datasets.Dataset"]


def rows(config: PrepareConfig) -> Source:
    """The rows of a train and a validation split with one image column and one class
    label column.

    Raises:
        InputError: it cannot be loaded, or has no such split or columns.
    """
    where = f"hub:{config.hub}" if config.source == "hub" else str(config.path)
    datasets.disable_progress_bars()
    for name in ("datasets", "huggingface_hub"):
        # what they would say is in the error, and that is one line
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return _rows(config, where)
    except InputError:
        raise
    except Exception as error:  # of the network, of a cache, of a file: nearly anything
        said = (str(error).strip() or "no message").splitlines()[0]
        raise InputError(f"{where}: cannot be loaded: {type(error).__name__}: {said}") from None


def _rows(config: PrepareConfig, where: str) -> Source:
    loaded = _load(config, where)
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
    pieces = _pieces(splits, image, label)
    stated = [config.revision, names["val"], [(piece.label, piece.size) for piece in pieces]]
    return Source(
        classes=[text_of(name) for name in names["val"]],
        fingerprint=hashlib.sha256(repr(stated).encode()).hexdigest(),
        state=_state(config, splits),
        pieces=lambda: pieces,
        read=partial(_read, splits, image, len(names["val"])),
        judge=judge if str(config.hub).endswith("/imagenet-1k") else None,
    )


def _state(config: PrepareConfig, splits: Splits) -> str:
    """When the user's own files were written. A revision of the Hub is what it is,
    wherever and whenever it was cached.
    """
    if config.path is None:
        return ""
    if (config.path / "dataset_dict.json").is_file():
        files = [file["filename"] for found in splits.values() for file in found.cache_files]
    else:
        files = [
            name
            for names in _parquet_files(
                config.path, (config.train_split, config.val_split)
            ).values()
            for name in names
        ]
    return repr([Path(file).stat().st_mtime_ns for file in files])


def _load(config: PrepareConfig, where: str) -> Splits:
    if config.source == "hub":
        found = datasets.load_dataset(config.hub, config.hub_config, revision=config.revision)
        _refuse_another_revision(found, config, where)
    elif config.path is None or not config.path.is_dir():
        raise InputError(
            f"{where}: no such folder; expected one that datasets saved, or one of parquet files"
        )
    elif (config.path / "dataset_dict.json").is_file():
        found = datasets.load_from_disk(str(config.path))
    elif files := _parquet_files(config.path, (config.train_split, config.val_split)):
        found = datasets.load_dataset("parquet", data_files=files)
    else:
        names = f"{config.train_split}-*.parquet and {config.val_split}-*.parquet"
        raise InputError(
            f"{where}: has neither dataset_dict.json nor {names}, there or below data/"
        )
    return dict(found)


def _refuse_another_revision(found: Splits, config: PrepareConfig, where: str) -> None:
    """Offline, `datasets` takes whatever its cache got last."""
    for split in found.values():
        for file in split.cache_files:
            if config.revision not in Path(file["filename"]).parts:
                said = f"`datasets` gave {file['filename']} in place of revision {config.revision}"
                raise InputError(
                    f"{where}: {said}; go online, or clear its cache of other revisions"
                )


def _parquet_files(path: Path, splits: tuple[str, ...]) -> dict[str, list[str]]:
    found = {
        split: [
            str(file)
            for folder in (path, path / "data")
            for file in sorted(folder.glob(f"{split}[-.]*parquet"))
        ]
        for split in splits
    }
    return {split: files for split, files in found.items() if files}


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
