"""Folders whose images would get wrong labels are refused, in a line that helps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.stages.prepare import prepare
from tests.labelled_pictures import both, folders, picture, put


def ilsvrc_flat(top: Path) -> Path:
    for k in range(1, 4):
        put(top / f"ILSVRC2012_val_{k:08d}.JPEG", picture(k, "JPEG"))
    return top


def tiny_imagenet(top: Path) -> Path:
    for number, wnid in enumerate(("n01443537", "n01629819")):
        put(top / f"train/{wnid}/images/{wnid}_0.JPEG", picture(number, "JPEG"))
        put(top / f"train/{wnid}/{wnid}_boxes.txt", b"0 0 9 9")
        put(top / f"val/images/val_{number}.JPEG", picture(number, "JPEG"))
    put(top / "val/val_annotations.txt", b"val_0.JPEG\tn01443537")
    return top


def with_val(top: Path, *names: str) -> Path:
    folders(top / "train", "Cat", "dog")
    folders(top / "val", *names)
    return top


REFUSED: list[tuple[str, Callable[[Path], Path], str]] = [
    (
        "labelled_folder",
        ilsvrc_flat,
        r"all 3 files, such as ILSVRC2012_val_00000001.JPEG, would be of one class, ILSVRC2012;"
        r".*ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12",
    ),
    ("labelled_folder", tiny_imagenet, r"val: all 2 files, such as val_0.JPEG.*one class, images"),
    (
        "labelled_folder",
        lambda top: tiny_imagenet(top) / "val/images",
        r"images: all 2 files, such as val_0.JPEG, would be of one class, val",
    ),
    ("labelled_folder", lambda top: tiny_imagenet(top) / "train", r"has folders \(images/\)"),
    ("labelled_folder", lambda top: folders(top / ".git", "a", "b").parent, "holds no images"),
    ("imagefolder", tiny_imagenet, r"has 1 class folders below val/ \(images/\); at least 2"),
    (
        "imagefolder",
        lambda top: folders(folders(with_val(top, "Cat", "dog") / "val", "a") / "dog", "b").parents[
            1
        ],
        "class a is in val/ only",
    ),
    (
        "imagefolder",
        lambda top: with_val(top, "cat", "dog"),
        "class cat is in val/ only;.*train/ has Cat, which differs from cat in case",
    ),
    (
        "imagefolder",
        lambda top: both(both(top, "1", "2"), "01"),
        "classes 01 and 1 are the same number",
    ),
]


@pytest.mark.parametrize(("source", "write", "message"), REFUSED)
def test_what_would_give_wrong_labels_is_refused(
    source: str, write: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    ours = PrepareConfig(source=source, name="data", path=write(tmp_path / "images"))
    with pytest.raises(InputError, match=message):
        prepare(ours, tmp_path / "root", processes=1)
    assert not (tmp_path / "root" / ours.folder).exists()
