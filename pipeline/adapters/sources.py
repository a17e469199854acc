"""Where images come from: an image-folder tree, or the data set that is embedded in scikit-learn."""

import hashlib
import io
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline.study import InputError, PrepareConfig

SPLITS = ("train", "val")


class SourceFile(NamedTuple):
    """A file as the source has it: bytes unchecked; None where it is no regular file."""

    split: str
    name: str
    label: int
    encoded: bytes | None


class Source(NamedTuple):
    """Classes, number of files, a digest of the listing (not of the contents), and the files in a fixed order."""

    classes: list[str]
    num_files: int
    fingerprint: str
    files: Iterator[SourceFile]


def open_source(config: PrepareConfig) -> Source:
    """The source that a config names.

    Raises:
        InputError: the path is missing or is not what the source needs.
    """
    if config.source == "digits":
        return _digits()
    if config.path is not None and config.source == "labelled_folder":
        return _labelled_folder(config.path, config.classes)
    if config.path is None:
        raise InputError(f"data set {config.name}: no path given; pass --data FOLDER with train/<class>/ and val/<class>/")
    return _imagefolder(config.path)


def _imagefolder(path: Path) -> Source:
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected one with train/<class>/ and val/<class>/ below it")
    for split in SPLITS:
        if not (path / split).is_dir():
            raise InputError(f"{path}: has no folder {split}/; expected train/<class>/ and val/<class>/")
    classes, other = (sorted(folder.name for folder in (path / split).iterdir() if folder.is_dir()) for split in SPLITS)
    if different := sorted(set(classes) ^ set(other)):
        where = "train" if different[0] in classes else "val"
        raise InputError(f"{path}: class {different[0]} is in {where}/ only; both splits need the same class folders")
    if len(classes) < 2:
        raise InputError(f"{path}: has {len(classes)} class folders below train/; at least 2 are needed")
    listing: list[tuple[str, int, Path]] = []
    for split in SPLITS:
        for label, name in enumerate(classes):
            found = sorted((path / split / name).iterdir())
            if not found:
                raise InputError(f"{path / split / name}: class folder is empty; each class needs at least one image")
            listing += [(split, label, file) for file in found]
    return _source(classes, listing, path, path)


def _source(classes: list[str], listing: list[tuple[str, int, Path]], path: Path, top: Path) -> Source:
    """The files of a listing of (split, label, file); their names are relative to `top`, less the split."""
    stated = [
        (file.relative_to(path).as_posix(), label, file.stat().st_size if file.is_file() else -1) for _, label, file in listing
    ]
    files = (
        SourceFile(split, file.relative_to(top).as_posix().removeprefix(f"{split}/"), label, _read(file))
        for split, label, file in listing
    )
    return Source(classes, len(listing), hashlib.sha256(repr((classes, stated)).encode()).hexdigest(), files)


def _read(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None


def _labelled_folder(path: Path, classes: tuple[str, ...] | None) -> Source:
    """Images to evaluate on: val/<class>/* or <class>/*, or files named <class>_*; without `classes`, the folders' names."""
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected one with val/<class>/, <class>/ or files named <class>_*")
    top = path / "val" if (path / "val").is_dir() else path
    folders = [entry for entry in sorted(top.iterdir()) if entry.is_dir()]
    if folders:
        found = [(folder.name, file) for folder in folders for file in sorted(folder.iterdir())]
    else:
        found = [(file.name.split("_")[0], file) for file in sorted(top.iterdir()) if file.is_file()]
    if not found:
        raise InputError(f"{path}: holds no images; expected val/<class>/, <class>/ or files named <class>_*")
    names = list(classes) if classes else sorted({name for name, _ in found})
    label_of = {name: label for label, name in enumerate(names)}
    if unknown := next((file for name, file in found if name not in label_of), None):
        raise InputError(f"{unknown}: belongs to none of the {len(names)} classes")
    listing = [("val", label_of[name], file) for name, file in found]
    return _source(names, listing, path, top)


DIGITS_VAL_SHARE = 5  # ours: every fifth digit is for validation


def _digits() -> Source:
    """The 1,797 scanned handwritten digits in scikit-learn (UCI, Alpaydin and Kaynak), rendered as photographs are taken.

    Each 8x8 scan becomes a JPEG of its own size and aspect ratio, the digit somewhere on a shaded sheet, so that scales,
    squares and windows have work to do. A function of nothing: the same bytes on every machine with the same Pillow.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    label_names = [str(name) for name in digits.target_names]
    order = sorted(range(len(digits.target)), key=lambda i: (i % DIGITS_VAL_SHARE == 0, digits.target[i], i))
    files = (
        SourceFile(
            split="val" if i % DIGITS_VAL_SHARE == 0 else "train",
            name=f"{label_names[digits.target[i]]}/{i:04d}.jpg",
            label=int(digits.target[i]),
            encoded=_render(digits.images[i], random.Random(i)),
        )
        for i in order
    )
    return Source(label_names, len(order), hashlib.sha256(digits.images.tobytes()).hexdigest(), files)


def _render(scan: np.ndarray, rng: random.Random) -> bytes:
    """A JPEG of the digit (8 x 8, 0 to 16) in ink on a sheet of 64 to 128 pixels' shorter side, aspect up to 2."""
    side = rng.randint(64, 128)
    longer = round(side * rng.uniform(1.0, 2.0))
    width, height = (longer, side) if rng.random() < 0.5 else (side, longer)
    digit = round(side * rng.uniform(0.6, 0.95))
    ink = np.asarray(Image.fromarray((scan * 255 / 16).astype(np.uint8)).resize((digit, digit), Image.Resampling.BICUBIC))
    left, top = rng.randint(0, width - digit), rng.randint(0, height - digit)
    cover = np.zeros((height, width, 1))
    cover[top : top + digit, left : left + digit, 0] = ink / 255
    slope = (
        np.linspace(0, rng.uniform(-40, 40), width)[None, :, None] + np.linspace(0, rng.uniform(-40, 40), height)[:, None, None]
    )
    paper = np.array([rng.randint(150, 230) for _ in range(3)]) + slope
    colour = np.array([rng.randint(0, 90) for _ in range(3)])
    page = paper * (1 - cover) + colour * cover
    file = io.BytesIO()
    Image.fromarray(page.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()
