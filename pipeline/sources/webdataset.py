"""The source that is a folder of WebDataset's tar files: an image and its label are
members side by side, KEY.jpg with KEY.cls or KEY.json.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache, partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.configs.prepare import WebDatasetConfig
from pipeline.errors import InputError
from pipeline.runtime.environment import cores_per_rank
from pipeline.runtime.pool import share
from pipeline.sources.base import NO_CLASS, Piece, Source, SourceFile, text_of
from pipeline.sources.class_order import numbers_in_words
from pipeline.sources.clutter import clutter, total
from pipeline.sources.folders import IMAGE_SUFFIXES
from pipeline.sources.ilsvrc import judge
from pipeline.sources.recognition import synsets
from pipeline.sources.tar import Member, file_of, members, read_at
from pipeline.sources.webdataset_shards import tars_of

# a key is all up to the first dot behind the folders
NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)
WNID = re.compile(r"(?:.*/)?(n\d{8})_", re.DOTALL)
NO_WNID = ""
MANY = 32  # ours: tar files, from which on processes share them
LABELS = {"cls", "json"}
LOOKED_AT = 16  # ours: members of a tar file, to see what it holds
MOST_LABEL_BYTES = 2**20  # ours: of a member that holds a label


class Sample(NamedTuple):
    """An image of a tar file, by its key, and its label."""

    key: str
    image: Member
    label: int


class Scan(NamedTuple):
    """What the headers and labels of a tar file say: how many images it has, a digest
    of their keys, sizes and labels, the wnids that the keys of each label begin with,
    and the clutter that is left out, by pattern.
    """

    tar: Path
    num_images: int
    digest: str
    wnids_of: dict[int, set[str]]
    left_out: dict[str, int]


def webdataset(config: WebDatasetConfig) -> Source:
    """The tar files of a folder; their names, or their folders', tell their splits.

    Every header and label is read before anything is prepared. The classes are those of
    `config`, or the wnids that all training images' keys begin with, or numbers.

    Raises:
        InputError: a tar file is missing or damaged, an image has no label, a label has
            no image, or two images of a file have one key.
    """
    path = config.path
    if path is None or not path.is_dir():
        raise InputError(f"{path}: no such folder; expected one of WebDataset's tar files")
    tars = tars_of(path, config.only_val)
    every = [tar for some in tars.of_split.values() for tar in some]
    states = tuple((tar, tar.stat().st_size, tar.stat().st_mtime_ns) for tar in every)
    of_tar = _scans(states)
    content, pieces = hashlib.sha256(), []
    wnids_of: dict[int, set[str]] = {}
    for split, some in tars.of_split.items():
        for scan in map(of_tar.__getitem__, some):
            tars.refuse_other_length(scan.tar, scan.num_images)
            name = scan.tar.relative_to(path).as_posix()
            content.update(repr((split, name, scan.digest)).encode())
            for label, wnids in scan.wnids_of.items():
                # validation images often have names without wnids
                wnids_of.setdefault(label, set()).update(
                    wnids if split == "train" else wnids - {NO_WNID}
                )
            pieces.append(Piece(split, name, NO_CLASS, scan.tar.stat().st_size))
    classes, notes = _classes(path, wnids_of, config.classes)
    trained = {label for tar in tars.of_split.get("train", every) for label in of_tar[tar].wnids_of}
    if unknown := sorted(wnids_of.keys() - trained):
        notes += (f"{len(unknown)} labels have no training image (the first: {unknown[0]})",)
    content.update(repr(classes).encode())
    place = {label: label if config.classes else k for k, label in enumerate(sorted(wnids_of))}
    return Source(
        classes,
        content.hexdigest(),
        lambda: pieces,
        partial(_read, path, place),
        state=repr([time for _, _, time in states]),
        judge=judge if classes == synsets() else None,
        left_out=total(scan.left_out for scan in of_tar.values()),
        notes=(*tars.notes, *notes),
        is_of_files=True,
    )


@lru_cache(maxsize=2)  # a command opens a source several times
def _scans(states: tuple[tuple[Path, int, int], ...]) -> dict[Path, Scan]:
    """Scan files, each with its size and the time at which it was written."""
    num_processes = cores_per_rank() if len(states) >= MANY else 1
    return {scan.tar: scan for scan in share(_scan, [tar for tar, _, _ in states], num_processes)}


def _scan(tar: Path) -> Scan:
    content, num_images = hashlib.sha256(), 0
    wnids_of: dict[int, set[str]] = {}
    left_out: Counter[str] = Counter()
    for key, image, label in samples(tar, left_out):
        num_images += 1
        content.update(repr((text_of(key), image.size, label)).encode())
        match = WNID.match(key)
        wnids_of.setdefault(label, set()).add(match[1] if match else NO_WNID)
    return Scan(tar, num_images, content.hexdigest(), wnids_of, dict(left_out))


def has_samples(path: Path) -> bool:
    """Return whether a tar file begins with an image and its label."""
    kinds: set[str] = set()
    with suppress(InputError):  # a damaged one may be WebDataset's, too
        for member in islice(members(path), LOOKED_AT):
            kinds |= {match[2].lower() for match in [NAME.fullmatch(member.name)] if match}
    return bool(kinds & LABELS) and any(f".{kind}" in IMAGE_SUFFIXES for kind in kinds)


def samples(path: Path, left_out: Counter[str]) -> Iterator[Sample]:
    """Yield the images of a tar file in order, with their labels; count clutter.

    Raises:
        InputError: it is damaged, an image has no label or a label no image, its two
            labels differ, or a key occurs twice.
    """
    seen: set[str] = set()
    for key, group in groupby(_parts(path, left_out), key=lambda part: part[0]):
        if key in seen:
            raise InputError(
                f"{path}: key {text_of(key)} occurs twice; expected the members of an image side by"
                " side, and each key once"
            )
        seen.add(key)
        yield _sample(path, key, [(kind, member) for _, kind, member in group])


def _parts(path: Path, left_out: Counter[str]) -> Iterator[tuple[str, str, Member]]:
    """Yield the key and the kind of each member, without clutter and remarks."""
    for member in members(path):
        if kind := clutter(member.name):
            left_out[kind] += 1
        if kind or member.name.startswith("__"):
            continue
        if (match := NAME.fullmatch(member.name)) is None:
            raise InputError(
                f"{path}: has member {text_of(member.name)!r}; expected KEY.jpg, KEY.cls and the"
                " like"
            )
        yield match[1], match[2].lower(), member


def _sample(path: Path, key: str, parts: list[tuple[str, Member]]) -> Sample:
    where = f"{path}: {text_of(key)}"
    kinds = [kind for kind, _ in parts]
    if twice := next((kind for kind in kinds if kinds.count(kind) > 1), None):
        raise InputError(f"{where}.{twice} occurs twice; expected each key once")
    images = [member for kind, member in parts if f".{kind}" in IMAGE_SUFFIXES]
    if len(images) != 1:
        raise InputError(
            f"{where} has {len(images)} images ({', '.join(kinds)}); expected one, such as"
            f" {text_of(key)}.jpg"
        )
    labels = {
        kind: label
        for kind, member in parts
        if kind in LABELS and (label := _label(path, kind, member)) is not None
    }
    if len(set(labels.values())) != 1:
        what = f"two labels, {labels['cls']} and {labels['json']}" if labels else "no label"
        raise InputError(
            f"{where} has {what}; expected a number in {text_of(key)}.cls, or as label in"
            f" {text_of(key)}.json"
        )
    return Sample(key, images[0], next(iter(labels.values())))


def _label(path: Path, kind: str, member: Member) -> int | None:
    """Return the label in a member; None if it is a JSON without one."""
    text, label = b"", None
    if member.offset is not None and member.size <= MOST_LABEL_BYTES:
        text = read_at(path, member.offset, member.size)
    try:
        content: Any = json.loads(text)
        label = content.get("label") if isinstance(content, dict) else content
        if label is None and kind == "json":
            return None
    except (ValueError, RecursionError):
        pass
    if type(label) is not int or label < 0:
        raise InputError(
            f"{path}: {text_of(member.name)} holds {text[:40].decode('utf-8', 'replace')!r};"
            " expected a class as a number from 0 on"
        )
    return label


def _classes(
    path: Path, wnids_of: dict[int, set[str]], given: tuple[str, ...] | None
) -> tuple[list[str], tuple[str, ...]]:
    """Return the names of the classes, and what a person should know of them."""
    labels = sorted(wnids_of)
    if given:
        if labels[-1] >= len(given):
            raise InputError(
                f"{path}: has label {labels[-1]}, and --classes names {len(given)} classes, for"
                f" labels 0 to {len(given) - 1}"
            )
        return list(given), ()
    wnids = [next(iter(wnids_of[label])) for label in labels if len(wnids_of[label]) == 1]
    if len(set(wnids)) == len(labels) and NO_WNID not in wnids:
        return wnids, (f"the {len(wnids)} labels are named by the wnids in the images' keys",)
    names = [str(label) for label in labels]
    return names, (
        *numbers_in_words(names, "labels"),
        "their classes have no names; --classes gives them",
    )


def _read(folder: Path, place: dict[int, int], piece: Piece) -> Iterator[SourceFile]:
    tar, top = folder / piece.name, text_of(piece.name.removesuffix(".tar"))
    for key, image, label in samples(tar, Counter()):
        name = f"{top}/{text_of(key)}{Path(image.name).suffix}"
        yield file_of(tar, piece.split, name, place.get(label, NO_CLASS), image)
