"""What sources that are folders of image files have in common."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from pipeline.errors import InputError
from pipeline.images.decode import MAX_BYTES
from pipeline.sources.base import NO_CLASS, Piece, Source, SourceFile, text_of
from pipeline.sources.class_order import numbers_in_words
from pipeline.sources.clutter import clutter, tidy

IMAGES = "images"
NOT_REGULAR = -1  # in place of a size
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm"}
)


def folder_source(
    classes: list[str],
    listing: list[tuple[str, int, Path]],
    top: Path,
    left_out: dict[str, int] | None = None,
    notes: tuple[str, ...] = (),
) -> Source:
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
    # it tells the order of the classes: no data set in another order is taken for this
    fingerprint = hashlib.sha256(repr((classes, stated)).encode()).hexdigest()
    return Source(
        classes,
        fingerprint,
        lambda: pieces,
        partial(_read, top),
        state=written.hexdigest(),
        left_out=left_out,
        notes=notes,
        is_of_files=True,
    )


def files_of(folder: Path, left_out: Counter[str]) -> list[Path]:
    """What is in a class folder, by name, without clutter.

    Raises:
        InputError: its images lie deeper.
    """
    found = tidy(folder, left_out)
    if any(entry.suffix.lower() in IMAGE_SUFFIXES for entry in found):
        return found
    if deeper := next((entry for entry in found if entry.is_dir()), None):
        raise InputError(
            f"{folder}: has folders ({deeper.name}/) and no files that are named as images;"
            " expected the images of a class in its folder, not deeper: move them up"
        )
    return found


def class_folders(top: Path, left_out: Counter[str]) -> tuple[dict[str, Path], list[Path]]:
    """Return the class folders below a folder by name, and what lies beside them.

    A folder without images groups the folders in it, as train/animals/<class>/ does; a
    folder images/ in a class holds its images, as Tiny ImageNet's do.

    Raises:
        InputError: two class folders have the same name.
    """
    folders: dict[str, Path] = {}
    strays: list[Path] = []
    for entry in tidy(top, left_out):
        if not entry.is_dir():
            strays.append(entry)
            continue
        inside = [each for each in sorted(entry.iterdir()) if not clutter(each.name)]
        groups = [each for each in inside if each.is_dir()]
        if not groups or any(is_image(each) for each in inside):
            deeper = {entry.name: entry}
        elif [each.name for each in groups] == [IMAGES]:
            deeper = {entry.name: entry / IMAGES}
        else:
            deeper, others = class_folders(entry, left_out)
            strays += others
        if twice := sorted(deeper.keys() & folders.keys()):
            raise InputError(
                f"{deeper[twice[0]]}: is a second folder of class {twice[0]}, beside"
                f" {folders[twice[0]]}; each class needs one folder"
            )
        folders |= deeper
    return dict(sorted(folders.items())), strays


def is_image(path: Path) -> bool:
    """Return whether a file is named as an image."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()


def twins(names: Sequence[str], others: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names, one of each list, that differ in case or in the encoding of
    accents only.

    >>> twins(["cat", "Dog"], ["Cat", "Dog"])
    [('cat', 'Cat')]
    """
    by_key: dict[str, list[str]] = {}
    for other in others:
        by_key.setdefault(_key(other), []).append(other)
    return [
        (name, other) for name in names for other in by_key.get(_key(name), ()) if other != name
    ]


def note_on_unseen(classes: list[str], labels: Iterable[int], what: str) -> tuple[str, ...]:
    """What a person should know of classes without a validation image: `what` is a
    folder or an image of the place that lacks it.
    """
    seen = set(labels)
    unseen = [name for label, name in enumerate(classes) if label not in seen]
    if not unseen:
        return ()
    return (
        f"{len(unseen)} of {len(classes)} classes have no {what} (the first: {unseen[0]}): no error"
        " is measured on them",
    )


def notes_on(classes: list[str]) -> tuple[str, ...]:
    """What a person should know of class folders."""
    pairs = [(one, other) for one, other in twins(classes, classes) if one < other]
    alike = [
        f"class folders {one} and {other} differ in case or accents only"
        f" ({len(pairs)} such pairs): each is a class of its own"
        for one, other in pairs[:1]
    ]
    return (*numbers_in_words(classes, "class folders"), *alike)


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


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
