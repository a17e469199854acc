"""What sources that are folders of image files have in common."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.errors import InputError
from pipeline.images.decode import MAX_BYTES
from pipeline.sources.base import Piece, Source, SourceFile, text_of

NO_CLASS = -1
NOT_REGULAR = -1  # in place of a size
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"}
)


def folder_source(classes: list[str], listing: list[tuple[str, int, Path]], top: Path) -> Source:
    """The source of the files of a listing of (split, label, file); their names are
    relative to `top`.

    Raises:
        InputError: two classes have the same name.
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
