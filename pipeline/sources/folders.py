"""Sources that are folders of image files."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.images.decode import MAX_BYTES
from pipeline.sources.base import Piece, Source, SourceFile, text_of

NO_CLASS = -1
NOT_REGULAR = -1  # in place of a size
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"}
)


def imagefolder(config: PrepareConfig) -> Source:
    """train/<class>/* and val/<class>/*.

    Raises:
        InputError: there is no such folder, or a split, a class or an image is missing.
    """
    path = config.path
    if path is None:
        raise InputError(
            f"data set {config.name}: no path given; pass --data FOLDER with train/<class>/ and"
            " val/<class>/"
        )
    if not path.is_dir():
        raise InputError(
            f"{path}: no such folder; expected one with train/<class>/ and val/<class>/ below it"
        )
    for split in config.splits:
        if not (path / split).is_dir():
            raise InputError(
                f"{path}: has no folder {split}/; expected train/<class>/ and val/<class>/"
            )
    classes, other = (
        sorted(entry.name for entry in (path / split).iterdir() if entry.is_dir())
        for split in config.splits
    )
    if different := sorted(set(classes) ^ set(other)):
        where = "train" if different[0] in classes else "val"
        raise InputError(
            f"{path}: class {different[0]} is in {where}/ only; both splits need the same class"
            " folders"
        )
    if len(classes) < 2:
        raise InputError(
            f"{path}: has {len(classes)} class folders below train/; at least 2 are needed"
        )
    listing: list[tuple[str, int, Path]] = []
    for split in config.splits:
        listing += [
            (split, NO_CLASS, entry)
            for entry in sorted((path / split).iterdir())
            if not entry.is_dir()
        ]
        for label, name in enumerate(classes):
            found = sorted((path / split / name).iterdir())
            if not found:
                raise InputError(
                    f"{path / split / name}: class folder is empty; each class needs at least one"
                    " image"
                )
            listing += [(split, label, file) for file in found]
    return _source(classes, listing, path)


def labelled_folder(config: PrepareConfig) -> Source:
    """Images to evaluate on: val/<class>/* or <class>/*, or files named <class>_*;
    without `classes`, the folders' names.

    Raises:
        InputError: there is no such folder, no image in it, or one that is of no class.
    """
    path = config.path
    if path is None or not path.is_dir():
        raise InputError(
            f"{path}: no such folder; expected one with val/<class>/, <class>/ or files named"
            " <class>_*"
        )
    top = path / "val" if (path / "val").is_dir() else path
    entries = sorted(top.iterdir())
    if any(entry.is_dir() for entry in entries):
        inside = [
            (entry.name, file)
            for entry in entries
            if entry.is_dir()
            for file in sorted(entry.iterdir())
        ]
        found = inside + [("", entry) for entry in entries if not entry.is_dir()]
    else:
        found = [
            (entry.name.partition("_")[0] if "_" in entry.name else "", entry) for entry in entries
        ]
    if not any(name for name, _ in found):
        raise InputError(
            f"{path}: holds no images; expected val/<class>/, <class>/ or files named <class>_*"
        )
    names = list(config.classes) if config.classes else sorted({name for name, _ in found if name})
    label_of = {"": NO_CLASS} | {name: label for label, name in enumerate(names)}
    if unknown := next((file for name, file in found if name not in label_of), None):
        raise InputError(f"{unknown}: belongs to none of the {len(names)} classes")
    return _source(names, [("val", label_of[name], file) for name, file in found], top)


def _source(classes: list[str], listing: list[tuple[str, int, Path]], top: Path) -> Source:
    """The files of a listing of (split, label, file); their names are relative to
    `top`.
    """
    pieces, stated, written = [], [], hashlib.sha256()
    for split, label, file in listing:
        status = file.stat() if file.is_file() else None
        size = status.st_size if status else NOT_REGULAR
        pieces.append(Piece(split, file.relative_to(top).as_posix(), label, size))
        stated.append((text_of(pieces[-1].name), label, size))
        written.update(str(status.st_mtime_ns if status else 0).encode())
    classes = [text_of(name) for name in classes]
    if len(set(classes)) < len(classes):
        raise InputError(
            f"{top}: two class folders have the same name, once what is no UTF-8 is written out"
        )
    fingerprint = hashlib.sha256(repr((classes, stated)).encode()).hexdigest()
    return Source(
        classes, fingerprint, lambda: pieces, partial(_read, top), state=written.hexdigest()
    )


def _read(top: Path, piece: Piece) -> Iterator[SourceFile]:
    name = text_of(piece.name.removeprefix(f"{piece.split}/"))
    path = top / piece.name
    refused = partial(SourceFile, piece.split, name, piece.label, None)
    if piece.label == NO_CLASS:
        yield refused("lies in no class folder, and its name does not begin with a class")
    elif path.is_dir():
        yield refused("is a folder; what is in it is not looked at")
    elif not path.is_file():
        yield refused("not a regular file")
    elif (size := path.stat().st_size) > MAX_BYTES:
        yield refused(f"has {size} bytes, more than {MAX_BYTES}")
    else:  # a disk that fails is no fault of the image: that error ends the stage
        yield SourceFile(
            piece.split,
            name,
            piece.label,
            path.read_bytes(),
            is_image=path.suffix.lower() in IMAGE_SUFFIXES,
        )
