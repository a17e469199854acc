"""ILSVRC-2012 from its raw archives. The constants are those of the original files."""

import hashlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.artefacts.contents import Completeness
from pipeline.configs.prepare import DEVKIT, ILSVRC2012_IMAGES, TRAIN, VAL, ILSVRC2012Config
from pipeline.errors import InputError, present
from pipeline.sources.base import NO_CLASS, Archive, Piece, Source, SourceFile, text_of
from pipeline.sources.clutter import clutter
from pipeline.sources.devkit import Devkit, read_devkit
from pipeline.sources.tar import Member, ends_digest, file_of, md5, members, wrong_md5

MD5 = {
    TRAIN: "1d675b47d978889d74fa0da5fadfb00e",
    VAL: "29b22e2961454d5413ddabcf34fc5622",
    DEVKIT: "fa75699e90414af021442c21a62c3abf",
}
IMAGES_PER_CLASS = {"train": (732, 1300), "val": (50, 50)}
NUM_CLASSES = 1000
VAL_NAME = re.compile(r"(?:.*/)?(ILSVRC2012_val_(\d{8})\.JPEG)", re.DOTALL)
CLASS_ARCHIVE = re.compile(r"(?:.*/)?(n\d{8})\.tar", re.DOTALL)


def ilsvrc2012(config: ILSVRC2012Config) -> Source:
    """The folder of the three archives.

    Raises:
        InputError: one is missing, or the devkit is not as it should be.
    """
    if config.path is None or not config.path.is_dir():
        raise InputError(
            f"{config.path}: no such folder; expected one with {TRAIN}, {VAL} and {DEVKIT}"
        )
    names = (DEVKIT, VAL) if config.only_val else (DEVKIT, TRAIN, VAL)
    paths = [config.path / name for name in names]
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file; source ilsvrc2012 needs {', '.join(names)}")
    if not config.trust_archives and (found := md5(config.path / DEVKIT)) != MD5[DEVKIT]:
        # before anything in it is believed
        raise InputError(wrong_md5(config.path / DEVKIT, found, MD5[DEVKIT]))
    devkit = read_devkit(config.path / DEVKIT)
    ends = [(path.name, ends_digest(path)) for path in paths]
    return Source(
        classes=devkit.wnids,
        fingerprint=hashlib.sha256(repr(ends).encode()).hexdigest(),
        # a copy may keep the first
        state=repr([(path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in paths]),
        pieces=partial(_pieces, config, devkit),
        read=partial(_read, config.path),
        archives=(
            () if config.trust_archives else tuple(Archive(path, MD5[path.name]) for path in paths)
        ),
        is_known=not config.trust_archives,
        class_words=devkit.words,
        judge=judge,
    )


def judge(files_per_class: dict[str, list[int]], num_unusable: int = 0) -> Completeness:
    """Compare the numbers of files with the original's, in the splits that there
    are.
    """
    problems = []
    for split, numbers in files_per_class.items():
        least, most = IMAGES_PER_CLASS[split]
        if sum(numbers) != ILSVRC2012_IMAGES[split]:
            problems.append(f"{sum(numbers)} {split} images of {ILSVRC2012_IMAGES[split]}")
        if wrong := sum(not least <= number <= most for number in numbers):
            usual = f"{least} to {most}" if least < most else f"{least}"
            problems.append(f"{wrong} classes with other than {usual} {split} images")
    if (classes := len(next(iter(files_per_class.values())))) != NUM_CLASSES:
        problems.append(f"{classes} classes of {NUM_CLASSES}")
    if num_unusable:
        problems.append(f"{num_unusable} files cannot be used")
    what = (
        "ILSVRC-2012"
        if len(files_per_class) > 1
        else f"ILSVRC-2012's {next(iter(files_per_class))} images"
    )
    verdict = (
        f"{what}, complete" if not problems else f"not the whole of {what}: {'; '.join(problems)}"
    )
    return Completeness(is_complete=not problems, verdict=verdict)


def _pieces(config: ILSVRC2012Config, devkit: Devkit) -> list[Piece]:
    """The class archives by wnid, and the validation files by number: neither lies in
    this order in its archive.
    """
    path = present(config.path, config.source)
    train = [] if config.only_val else _train_pieces(path / TRAIN, devkit.wnids)
    return [*train, *_val_pieces(path / VAL, devkit.val_labels)]


def _train_pieces(path: Path, wnids: list[str]) -> list[Piece]:
    found: dict[str, Piece] = {}
    left_out = []
    for member in members(path):
        if clutter(member.name):
            left_out.append(_clutter("train", member.name))
            continue
        match = CLASS_ARCHIVE.fullmatch(member.name)
        wnid = match[1] if match else ""
        if member.offset is None or wnid not in wnids or wnid in found:
            expected = "a tar of each class of the devkit, once"
            raise InputError(f"{path}: has member {text_of(member.name)!r}; expected {expected}")
        found[wnid] = Piece("train", wnid, wnids.index(wnid), member.size, member.offset)
    if missing := [wnid for wnid in wnids if wnid not in found]:
        raise InputError(
            f"{path}: has no {missing[0]}.tar; {len(missing)} of the devkit's {len(wnids)} classes"
            " are missing"
        )
    return left_out + [found[wnid] for wnid in wnids]


def _val_pieces(path: Path, labels: list[int]) -> list[Piece]:
    found: dict[int, Piece] = {}
    left_out = []
    for member in members(path):
        if clutter(member.name):
            left_out.append(_clutter("val", member.name))
            continue
        match = VAL_NAME.fullmatch(member.name)
        number = int(match[2]) if match else 0
        if match is None or not 1 <= number <= len(labels) or number in found:
            expected = (
                f"ILSVRC2012_val_00000001.JPEG to {len(labels):08d}, as many as the ground truth"
                " has lines, each once"
            )
            raise InputError(f"{path}: has member {text_of(member.name)!r}; expected {expected}")
        offset = -1 if member.offset is None else member.offset
        found[number] = Piece("val", match[1], labels[number - 1], member.size, offset)
    if len(found) != len(labels):
        missing = next(number for number in range(1, len(labels) + 1) if number not in found)
        raise InputError(
            f"{path}: has {len(found)} images for {len(labels)} lines of ground truth; {missing} is"
            " missing"
        )
    return left_out + [found[number] for number in sorted(found)]


def _clutter(split: str, name: str) -> Piece:
    """A piece without bytes, ahead of all others of its split: it makes no shard."""
    return Piece(split, name, NO_CLASS, 0)


def _read(folder: Path, piece: Piece) -> Iterator[SourceFile]:
    if piece.label == NO_CLASS:
        yield _left_out(piece)
        return
    if piece.split == "val":
        offset = piece.offset if piece.offset >= 0 else None
        member = Member(piece.name, piece.size, offset)
        yield file_of(folder / VAL, piece.split, piece.name, piece.label, member)
        return
    names: set[str] = set()
    for member in members(folder / TRAIN, piece.offset, piece.offset + piece.size):
        name = member.name
        own = f"{piece.name}/{text_of(name.rpartition('/')[2])}"
        if clutter(name):
            yield _left_out(piece._replace(name=name))
            continue
        if own in names:
            whole = f"{piece.name}/{text_of(name)}"
            yield SourceFile(
                piece.split, whole, piece.label, None, "has a name that occurs twice in its archive"
            )
        else:
            yield file_of(folder / TRAIN, piece.split, own, piece.label, member)
        names.add(own)
    if not names:
        raise InputError(
            f"{folder / TRAIN}: {piece.name}.tar holds no image; expected those of the class"
        )


def _left_out(piece: Piece) -> SourceFile:
    return SourceFile(piece.split, piece.name, piece.label, None, clutter=clutter(piece.name))
