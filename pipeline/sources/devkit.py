"""The devkit of ILSVRC-2012: its classes, and the labels of its validation images."""

import gzip
import io
import tarfile
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.sources.tar import DAMAGED

META, TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
MAX_DEVKIT_BYTES = 64 * 2**20  # ours: unpacked; the real one has a few million
# the first validation labels in sorted order: of a file that circulates under TRUTH's
# name
SORTED_BEGINNING = (65, 970, 230)


class Devkit(NamedTuple):
    """The classes in sorted order of their wnids, and the label of each validation
    image, the first one's at 0.
    """

    wnids: list[str]
    words: list[str]
    val_labels: list[int]


def read_devkit(path: Path) -> Devkit:
    """Classes and validation labels of a devkit. Two synsets may share their words
    (crane, maillot): only wnids are keys.

    Raises:
        InputError: a file is missing or odd, or the ground truth follows another
            convention than the original's.
    """
    files = _texts(path)
    wnids_of = _leaves(path, files[META])
    wnids = sorted(wnid for wnid, _ in wnids_of.values())
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    words_of = dict(wnids_of.values())
    where = f"{path}: {TRUTH}"
    try:
        ids = [int(line) for line in files[TRUTH].split()]
    except ValueError:
        raise InputError(
            f"{where}: is not a list of numbers; expected an ILSVRC2012_ID a line"
        ) from None
    if tuple(ids[:3]) == SORTED_BEGINNING or 0 in ids:
        raise InputError(
            f"{where}: holds 0-based labels in sorted order, not the original's ILSVRC2012_IDs"
            " (which begin 490, 361, 171); take the file of the original devkit"
        )
    if wrong := next((number for number in ids if number not in wnids_of), None):
        raise InputError(
            f"{where}: has {wrong}, which is no ILSVRC2012_ID of a class in {META}; expected 1 to"
            f" {len(wnids)}"
        )
    return Devkit(
        wnids, [words_of[wnid] for wnid in wnids], [label_of[wnids_of[number][0]] for number in ids]
    )


def _texts(path: Path) -> dict[str, bytes]:
    found = {}
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_DEVKIT_BYTES + 1)  # to its end, where gzip's own checksum is
        if len(content) > MAX_DEVKIT_BYTES:
            raise InputError(
                f"{path}: grows to more than {MAX_DEVKIT_BYTES} bytes; expected the devkit of tasks"
                " 1 and 2"
            )
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for info in archive:
                for name in (META, TRUTH):
                    if (
                        info.isreg()
                        and not info.issparse()
                        and info.name.endswith(name)
                        and (member := archive.extractfile(info)) is not None
                    ):
                        found[name] = member.read()
    except (*DAMAGED, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read as .tar.gz: {error}") from None
    if missing := [name for name in (META, TRUTH) if name not in found]:
        raise InputError(
            f"{path}: has no {' and no '.join(missing)}; expected the devkit of tasks 1 and 2"
        )
    return found


def _leaves(path: Path, meta: bytes) -> dict[int, tuple[str, str]]:
    """(wnid, words) by ILSVRC2012_ID, of the synsets without children: the others are
    no classes.
    """
    from scipy.io import loadmat

    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        rows = [
            (
                int(row["ILSVRC2012_ID"]),
                str(row["WNID"]),
                str(row["words"]),
                int(row["num_children"]),
            )
            for row in synsets.reshape(-1)
        ]
    except Exception as error:  # loadmat raises nearly anything on damaged files
        raise InputError(
            f"{path}: {META}: cannot be read as the devkit's list of synsets: {error}"
        ) from None
    leaves = {number: (wnid, words) for number, wnid, words, children in rows if children == 0}
    if twice := [
        wnid for wnid, count in Counter(wnid for wnid, _ in leaves.values()).items() if count > 1
    ]:
        raise InputError(f"{path}: {META}: has {twice[0]} twice; expected each class once")
    if len(leaves) < 2:
        raise InputError(
            f"{path}: {META}: has {len(leaves)} synsets without children; expected the classes"
        )
    return leaves
