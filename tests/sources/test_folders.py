"""Folders as people have them: each image gets the label that its colour says."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets
import pytest

from pipeline.configs.prepare import TRAIN, VAL, PrepareConfig
from pipeline.errors import InputError
from pipeline.sources import clutter, imagefolder
from pipeline.sources.registry import open_source
from pipeline.stages.prepare import prepare
from tests.ilsvrc_archives import write_archives
from tests.labelled_pictures import TWIN, both, by_colour, folders, picture, put, right


def config(path: Path, source: str = "imagefolder", **more: object) -> PrepareConfig:
    return PrepareConfig(source=source, name="data", path=path, **more)


NUMBERS = tuple(map(str, range(12)))


def flat(top: Path) -> Path:
    for name in NUMBERS:
        for k in range(2):
            put(top / f"{name}_{k}.png", picture(int(name)))
    return top


def table(top: Path) -> Path:
    """As `datasets` orders the names of folders."""
    names = sorted(NUMBERS)
    rows = datasets.Dataset.from_dict(
        {
            "image": [{"bytes": picture(int(name)), "path": None} for name in names * 2],
            "label": list(range(12)) * 2,
        },
        features=datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=names)),
    )
    datasets.disable_progress_bars()
    datasets.DatasetDict(train=rows, validation=rows).save_to_disk(top)
    return top


@pytest.mark.parametrize(
    ("source", "write"),
    [
        ("imagefolder", lambda top: both(top, *NUMBERS)),
        ("labelled_folder", lambda top: folders(top, *NUMBERS)),
        ("labelled_folder", flat),
        ("datasets", table),
    ],
)
def test_numbers_are_in_the_order_of_numbers(
    source: str, write: Callable[[Path], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = prepare(config(write(tmp_path / "images"), source), tmp_path, processes=1)
    assert made.classes == list(NUMBERS)
    assert sorted(by_colour(made)) == right(12)
    said = capfd.readouterr().err
    assert said.count("are numbers: taken in their order as numbers, 0 to 11\n") == 1


def test_a_data_set_in_the_order_of_text_is_not_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its source at hand, and without."""
    ours = config(both(tmp_path / "images", *NUMBERS))
    with monkeypatch.context() as earlier:
        earlier.setattr(imagefolder, "by_number", lambda names, where: sorted(names))
        fingerprint = open_source(ours).fingerprint
        prepare(ours, tmp_path, processes=1)
    assert open_source(ours).fingerprint != fingerprint
    for again in (ours, ours.but(path=None)):
        with pytest.raises(InputError, match=r"in the order of text \(0, 1, 10\).*another --root"):
            prepare(again, tmp_path)


def test_other_folders_are_the_data_sets_that_they_were(tmp_path: Path) -> None:
    """Fingerprints of version 3 as first written, also of numbers of equal length."""
    for split in ("train", "val"):
        put(tmp_path / "padded" / split / "stray.txt", b"x")
        for name in ("00", "07", "10"):
            put(tmp_path / "padded" / split / name / "a.jpg", b"x" * int(name))
    for name in ("b_1.jpg", "a_1.jpg", "a.txt", "a-b_2.jpg", "z.jpg"):
        put(tmp_path / "flat" / name, b"x")
    found = [
        open_source(config(tmp_path / "padded")).fingerprint,
        open_source(config(tmp_path / "padded", "labelled_folder")).fingerprint,
        open_source(config(tmp_path / "flat", "labelled_folder")).fingerprint,
    ]
    golden = ["1aadc0470f1e816b", "5b357ef2f676d1ab", "1ea0f8066a8e935e"]
    assert [fingerprint[:16] for fingerprint in found] == golden


@pytest.mark.parametrize("source", ["imagefolder", "labelled_folder"])
def test_clutter_is_counted_and_no_data(
    source: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    top = both(tmp_path / "images", "cat", "dog")
    clean = open_source(config(top, source)).fingerprint
    for split in ("train", "val"):
        for k in range(2):
            put(top / split / "dog" / f"._{k}.png")
            put(top / split / f"__MACOSX/dog/._{k}.png")
        put(top / split / ".DS_Store")
        put(top / split / "cat/Thumbs.db")
        put(top / split / "cat/0.png~", picture(3))
        put(top / split / ".ipynb_checkpoints/0-checkpoint.png", picture(0))
        put(top / split / "@eaDir/0.png", picture(0))
        put(top / split / "lost+found/0.png", picture(0))
        put(top / split / ".hidden/0.png", picture(0))
    assert open_source(config(top, source)).fingerprint == clean
    made = prepare(config(top, source), tmp_path, processes=1)
    assert made.classes == ["cat", "dog"]
    assert by_colour(made) == right(2)
    num_splits = 2 if source == "imagefolder" else 1
    per_split = {"._*": 2, ".DS_Store": 1, ".ipynb_checkpoints": 1, ".*": 1, "__MACOSX": 1}
    per_split |= {"Thumbs.db": 1, "@eaDir": 1, "lost+found": 1, "*~": 1}
    assert made.manifest.left_out == {kind: num_splits * n for kind, n in per_split.items()}
    assert (made.manifest.num_rejected, made.manifest.num_unreadable) == (0, 0)
    assert f"left out as clutter: {2 * num_splits} ._*, " in capfd.readouterr().err


def test_a_data_set_with_clutter_is_not_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As earlier versions took twins for validation images."""
    ours = config(both(tmp_path / "images", "cat", "dog"))
    put(tmp_path / "images/val/dog/._0.png")
    with monkeypatch.context() as earlier:
        earlier.setattr(clutter, "clutter", lambda name: "")
        assert prepare(ours, tmp_path, processes=1).manifest.num_unreadable == 1
    with pytest.raises(InputError, match=r"other files.*clutter: 1 \._\*; earlier versions took"):
        prepare(ours, tmp_path)


def test_a_real_name_that_is_no_image_keeps_its_slot(tmp_path: Path) -> None:
    put(both(tmp_path / "images", "cat", "dog") / "val/dog/7.png")
    made = prepare(config(tmp_path / "images"), tmp_path, processes=1)
    assert (made.manifest.num_images["val"], made.manifest.num_unreadable) == (5, 1)
    assert made.manifest.left_out is None


def test_images_of_one_class_of_a_list_are_meant(tmp_path: Path) -> None:
    top = folders(tmp_path / "images", "dog", numbers=(1,))
    made = prepare(config(top, "labelled_folder", classes=("cat", "dog")), tmp_path, processes=1)
    assert by_colour(made) == [(1, 1), (1, 1)]


def test_an_empty_class_folder_moves_no_label(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    top = folders(tmp_path / "images", "a", "c", numbers=(0, 2))
    put(top / "b" / ".DS_Store")
    made = prepare(config(top, "labelled_folder"), tmp_path, processes=1)
    assert by_colour(made) == [(0, 0), (0, 0), (2, 2), (2, 2)]
    assert "1 of 3 classes have no image (the first: b)" in capfd.readouterr().err


def test_a_class_without_validation_images_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    top = tmp_path / "images"
    folders(top / "train", "a", "b", "c")
    folders(top / "val", "a", "c", numbers=(0, 2))
    made = prepare(config(top), tmp_path, processes=1)
    assert by_colour(made, "train") == right(3)
    assert by_colour(made) == [(0, 0), (0, 0), (2, 2), (2, 2)]
    assert "1 of 3 classes have no folder in val/ (the first: b)" in capfd.readouterr().err


def test_classes_that_differ_in_case_are_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = prepare(config(both(tmp_path / "images", "A", "a")), tmp_path, processes=1)
    assert by_colour(made) == right(2)
    assert "class folders A and a differ in case or accents only" in capfd.readouterr().err


def test_missing_numbers_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = prepare(config(both(tmp_path / "images", "9", "11", "20")), tmp_path, processes=1)
    assert by_colour(made) == right(3)
    assert "as numbers, 9 to 20; 9 between are missing" in capfd.readouterr().err


def test_clutter_in_archives_is_counted(tmp_path: Path) -> None:
    """As tar of a Mac writes it: before each member, in every archive."""
    wnids = [f"n0{number:07d}" for number in range(2)]
    train = {
        wnid: [(f"._{wnid}_1.JPEG", TWIN), (f"{wnid}_1.JPEG", picture(number, "JPEG"))]
        for number, wnid in enumerate(wnids)
    }
    write_archives(tmp_path, train, [(wnid, picture(k, "JPEG")) for k, wnid in enumerate(wnids)])
    for archive, name in ((TRAIN, f"./._{wnids[0]}.tar"), (VAL, "._ILSVRC2012_val_00000001.JPEG")):
        with tarfile.open(tmp_path / archive, "a") as opened:
            info = tarfile.TarInfo(name)
            info.size = len(TWIN)
            opened.addfile(info, io.BytesIO(TWIN))
    made = prepare(
        config(tmp_path, "ilsvrc2012", trust_archives=True), tmp_path / "root", processes=1
    )
    assert by_colour(made, "train") == by_colour(made) == [(0, 0), (1, 1)]
    assert made.manifest.left_out == {"._*": 4}
    assert (made.manifest.num_files, made.manifest.num_rejected) == (4, 0)
    assert len(made.shards("train") + made.shards("val")) == 2
