"""Which tar files of WebDataset lie in a folder, and whether all are there."""

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.errors import InputError
from pipeline.sources.base import text_of
from pipeline.sources.clutter import clutter
from pipeline.sources.splits import EXPECTED, split_in, validating

NUMBERED = re.compile(r"(.*?)(\d+)")
INFO = "_info.json"  # as timm's mirrors on the Hub have it


class Tars(NamedTuple):
    """The tar files of each split; `lengths` has the images that each must hold, where
    an _info.json tells, and `notes` what a person should know.
    """

    of_split: dict[str, list[Path]]
    lengths: dict[str, int]
    notes: tuple[str, ...] = ()

    def refuse_other_length(self, tar: Path, num_images: int) -> None:
        """Raise InputError if a tar file has no image, or not as many as it must."""
        if not num_images:
            raise InputError(f"{tar}: holds no image; expected KEY.jpg with KEY.cls or KEY.json")
        if (expected := self.lengths.get(tar.name, num_images)) != num_images:
            raise InputError(
                f"{tar}: holds {num_images} images, and {INFO} says {expected}; fetch it again"
            )


def tars_in(path: Path) -> list[Path]:
    """Return the tar files of a folder and of the folders in it, by name."""
    inside = [*path.glob("*.tar"), *path.glob("*/*.tar")]
    return sorted(tar for tar in inside if tar.is_file() and not clutter(tar.name))


def tars_of(path: Path, only_val: bool = False) -> Tars:
    """Return the tar files of a folder.

    A file's name tells its split, or else its folder's. Where there is no val, test is
    for validation. Where no name tells, all are for validation if only that is wanted.

    Raises:
        InputError: a split has no file, the name of one does not tell its split, or a
            number between two others or a file of _info.json is missing.
    """
    tars = tars_in(path)
    splits = {tar: split_in(tar.stem) or split_in(tar.parent.name) for tar in tars}
    if only_val and not any(splits.values()):
        splits = dict.fromkeys(tars, "val")
    if unclear := next((tar for tar in tars if splits[tar] is None), None):
        raise InputError(
            f"{unclear}: neither its name nor its folder's says its split; expected {EXPECTED}"
        )
    val = validating(str(split) for split in splits.values())
    wanted = {"val": val} if only_val else {"train": "train", "val": val}
    of_split = {own: [tar for tar in tars if splits[tar] == name] for own, name in wanted.items()}
    if lacking := next((own for own, some in of_split.items() if not some), None):
        hint = "; go without train by --only-val" if lacking == "train" else ""
        if packed := next((each for end in ("gz", "tgz") for each in path.glob(f"*.{end}")), None):
            hint = f"; {packed.name} and others of its kind are not read; unpack them to .tar first"
        raise InputError(f"{path}: has no tar files of {lacking}, by their names{hint}")
    lengths = {
        name: count
        for name, count in _lengths(path / INFO).items()
        if split_in(name) in wanted.values()
    }
    _refuse_lost(path, tars, list(lengths))
    for some in of_split.values():
        _refuse_gaps(some)
    unread = len(tars) - sum(map(len, of_split.values()))
    notes = (f"{unread} tar files of other splits are not read",) if unread else ()
    return Tars(of_split, lengths, notes)


def _refuse_gaps(tars: list[Path]) -> None:
    """Raise InputError if a number is missing among files of one name."""
    series: dict[Path, dict[int, Path]] = {}
    for tar in tars:
        if match := NUMBERED.fullmatch(tar.stem):
            series.setdefault(tar.parent / match[1], {})[int(match[2])] = tar
    for numbered in series.values():
        for one, other in pairwise(sorted(numbered)):
            if other != one + 1:
                raise InputError(
                    f"{numbered[one]}: has number {one} and the next, {numbered[other].name}, has"
                    f" {other}: {other - one - 1} between are missing; fetch them, or number the"
                    " files anew to take only these"
                )


def _refuse_lost(path: Path, tars: list[Path], names: list[str]) -> None:
    there = {tar.name for tar in tars}
    if lost := [name for name in names if name not in there]:
        raise InputError(
            f"{path}: lacks {len(lost)} tar files that {INFO} names (the first:"
            f" {text_of(lost[0])}); fetch them, or take {INFO} away to use only these"
        )


def _lengths(info: Path) -> dict[str, int]:
    """Return the number of images of each tar file, where a JSON in timm's form says
    it.
    """
    try:
        content: Any = json.loads(info.read_text())
        return {
            Path(name).name: int(count)
            for split in content["splits"].values()
            for name, count in zip(split["filenames"], split["shard_lengths"], strict=True)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # none, or another file of that name
