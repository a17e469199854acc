"""The three archives of ILSVRC-2012 in miniature, in the original's layout and with its
oddities.
"""

import io
import random
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat

from pipeline.configs.prepare import DEVKIT, TRAIN, VAL

INTERNAL = 7  # synsets that have children, and are no classes


def write_archives(
    folder: Path,
    train: Mapping[str, Sequence[tuple[str, bytes]]],
    val: Sequence[tuple[str, bytes]],
    words: Mapping[str, str] | None = None,
    truth: str | None = None,
) -> None:
    """`train`: by wnid, (file name, bytes); `val`: (wnid, bytes) of image 1, 2 ...
    `truth` replaces the ground truth file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(0)
    wnids = list(train)
    rng.shuffle(wnids)  # the ids of the devkit are in no order of the wnids
    id_of = {wnid: number for number, wnid in enumerate(wnids, start=1)}
    with tarfile.open(folder / TRAIN, "w", format=tarfile.GNU_FORMAT) as archive:
        for wnid in rng.sample(wnids, len(wnids)):
            _add(archive, f"{wnid}.tar", inner_tar(train[wnid]))
    with tarfile.open(folder / VAL, "w", format=tarfile.GNU_FORMAT) as archive:
        # the original's order is not that of the names either
        for number in rng.sample(range(len(val)), len(val)):
            _add(archive, f"ILSVRC2012_val_{number + 1:08d}.JPEG", val[number][1])
    lines = "".join(f"{id_of[wnid]}\n" for wnid, _ in val) if truth is None else truth
    with tarfile.open(folder / DEVKIT, "w:gz") as archive:
        _add(archive, "ILSVRC2012_devkit_t12/readme.txt", b"as in the original")
        _add(archive, "ILSVRC2012_devkit_t12/data/meta.mat", _meta(id_of, words or {}))
        _add(
            archive,
            "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
            lines.encode(),
        )


def inner_tar(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Return the archive of a class."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files:
            _add(archive, name, content)
    return file.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _meta(id_of: Mapping[str, int], words: Mapping[str, str]) -> bytes:
    kind = [
        (name, object)
        for name in ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children")
    ]
    synsets = np.empty((len(id_of) + INTERNAL, 1), dtype=kind)
    leaves: list[tuple[object, ...]] = [
        (number, wnid, words.get(wnid, f"thing {number}"), "", 0, [])
        for wnid, number in id_of.items()
    ]
    internal: list[tuple[object, ...]] = [
        (len(id_of) + k, f"n9000000{k}", "entity", "", 2, [1, 2]) for k in range(1, INTERNAL + 1)
    ]
    for row, values in enumerate([*leaves, *internal]):
        synsets[row, 0] = values
    file = io.BytesIO()
    savemat(file, {"synsets": synsets})
    return file.getvalue()
