"""Images that tables list, for training too: which file has which class."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.artefacts.dataset import Dataset
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.sources.layouts import recognise_layout
from pipeline.stages.prepare import prepare
from tests.labelled_pictures import by_colour, picture, put

NAMES = ("golden eagle", "golden retriever", "tench")  # alike up to the space
TRAIN, VAL = (2, 0, 1, 1), (1, 2, 0)
Write = Callable[[Path], Path]


def images(top: Path, train: str, val: str, end: str = ".png") -> Path:
    for folder, labels in ((train, TRAIN), (val, VAL)):
        for number, label in enumerate(labels):
            put(top / folder / f"{Path(folder).name}{number}{end}", picture(label))
    return top


def table(
    path: Path, head: str, row: Callable[[str, int], str], split: str, labels: tuple[int, ...]
) -> None:
    rows = [row(f"{split}{number}", label) for number, label in enumerate(labels)]
    put(path, (head + "".join(f"{each}\n" for each in rows)).encode())


def two(
    form: str, head: str, row: Callable[[str, int], str], train: str = "train", val: str = "val"
) -> Write:
    def write(top: Path) -> Path:
        images(top, train, val)
        table(top / form.format("train"), head, row, "train", TRAIN)
        table(top / form.format("val"), head, row, "val", VAL)
        return top

    return write


def of_all_splits(top: Path) -> Path:
    """As Excel writes it; the images of test are none of the data."""
    images(top, "pictures/train", "pictures/val")
    rows = [f"train,pictures/train/train{n}.png,{NAMES[k]}\n" for n, k in enumerate(TRAIN)]
    rows += [f"valid,pictures/val/val{n}.png,{NAMES[k]}\n" for n, k in enumerate(VAL)]
    text = "\ufeffSplit,Path,Label\n" + "".join(rows) + "test,pictures/none.png,tench\n"
    put(top / "labels.csv", text.encode())
    return top


LAYOUTS: dict[str, tuple[Write, str]] = {
    "names by path": (
        two("{}.csv", "path,label\n", lambda n, k: f"{n[:-1]}/{n}.png,{NAMES[k]}"),
        "listed by train.csv and val.csv",
    ),
    "names alone": (
        two("{}.csv", "label,file_name\n", lambda n, k: f"{NAMES[k]},{n}.png"),
        "listed by train.csv and val.csv",
    ),
    "without ends": (
        two("{}_labels.csv", "image_id,label\n", lambda n, k: f"{n},{NAMES[k]}"),
        "listed by train_labels.csv and val_labels.csv",
    ),
    "a tsv without a head": (
        two("{}.tsv", "", lambda n, k: f"{n}.png\t{NAMES[k]}"),
        "listed by train.tsv and val.tsv",
    ),
    "metadata.csv in each": (
        two("{}/metadata.csv", "file_name,label\n", lambda n, k: f"{n}.png,{NAMES[k]}"),
        "listed by train/metadata.csv and val/metadata.csv",
    ),
    "of all splits": (of_all_splits, "images of all splits listed by labels.csv"),
}


def prepared(top: Path, root: Path, **more: object) -> Dataset:
    fields = recognise_layout(top).fields | more
    return prepare(PrepareConfig(name="data", path=top, **fields), root, processes=1)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_table_is_recognised_and_read_right(name: str, tmp_path: Path) -> None:
    write, words = LAYOUTS[name]
    top = write(tmp_path / "images")
    assert words in recognise_layout(top).words
    dataset = prepared(top, tmp_path / "root")
    assert dataset.classes == list(NAMES)
    assert by_colour(dataset, "train") == [(k, k) for k in TRAIN]
    assert by_colour(dataset) == [(k, k) for k in VAL]
    assert dataset.manifest.num_rejected == 0


def test_numbers_are_labels_or_places_of_classes(tmp_path: Path) -> None:
    row: Callable[[str, int], str] = lambda n, k: f"{n}.png {8 + k}"  # noqa: E731
    top = two("{}.txt", "", row, "images/train", "images/val")(tmp_path / "images")
    for split in ("train", "val"):
        for file in (top / "images" / split).iterdir():
            file.rename(top / "images" / file.name)
    dataset = prepared(top, tmp_path / "root")
    assert dataset.classes == ["8", "9", "10"], "in the order of numbers"
    assert by_colour(dataset) == [(k, k) for k in VAL]
    names = tuple(f"thing {k}" for k in range(12))
    named = prepared(top, tmp_path / "named", classes=names)
    assert by_colour(named, "train") == [(k, 8 + k) for k in TRAIN]
    with pytest.raises(InputError, match="has class '10', which is none of the 9 classes"):
        prepared(top, tmp_path / "other", classes=names[:9])


def test_given_names_are_the_order(tmp_path: Path) -> None:
    top = LAYOUTS["names by path"][0](tmp_path / "images")
    dataset = prepared(top, tmp_path / "root", classes=("x", *NAMES[::-1]))
    assert by_colour(dataset) == [(k, 3 - k) for k in VAL]


def written(train: str, val: str = "path,label\nval/val0.png,b\n") -> Write:
    def write(top: Path) -> Path:
        images(top, "train", "val")
        put(top.parent / "secret.png", picture(0))
        put(top / "train.csv", f"path,label\n{train}".encode())
        put(top / "val.csv", val.encode())
        return top

    return write


def split_of(word: str) -> Write:
    def write(top: Path) -> Path:
        images(top, "train", "val")
        rows = f"train/train0.png,a,train\nval/val0.png,a,{word}\n"
        put(top / "all.csv", f"path,label,split\n{rows}".encode())
        return top

    return write


AB = "train/train0.png,a\ntrain/train1.png,b\n"


def two_tables(top: Path) -> Path:
    put(split_of("val")(top) / "more.csv", b"path,label,set\n")
    return top


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            written(AB + "train/no.png,a\n"),
            r"names 3 train images, of which 1 are missing .*no.png",
        ),
        (
            written(AB + "train/../../secret.png,a\n"),
            r"train.csv: names .*secret.png, which is not",
        ),
        (written(AB + "/etc/passwd,a\n"), "train.csv: names /etc/passwd, which is not in"),
        (written(AB + "train/train0.png,b\n"), "train0.png twice for train; expected each image"),
        (written(AB, "path,label\nval/val0.png,c\n"), "has class c, of which .*no training image"),
        (written("train/train0.png,b\n"), "has 1 classes; expected at least 2"),
        (written(""), "has class b, of which"),
        (split_of("fold 3"), "val0.png is of split 'fold 3'; expected train, or val, validation"),
        (split_of("train"), "all.csv: lists no image of split val"),
        (two_tables, "has several tables of files, classes and splits .all.csv, more.csv."),
    ],
)
def test_what_is_not_clear_is_named(write: Write, message: str, tmp_path: Path) -> None:
    top = write(tmp_path / "images")
    with pytest.raises(InputError, match=message):
        prepared(top, tmp_path / "root")
    assert not (tmp_path / "root/datasets").exists()


def test_a_class_without_a_validation_image_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(written(AB)(tmp_path / "images"), tmp_path / "root")
    assert "1 of 2 classes have no image in val.csv (the first: a): no error is measured" in (
        capsys.readouterr().err
    )


def test_a_table_of_all_splits_beside_one_of_validation_is_refused(tmp_path: Path) -> None:
    """Else its validation images would be trained on."""
    top = of_all_splits(tmp_path / "images")
    (top / "val.csv").write_text(f"path,label\npictures/val/val0.png,{NAMES[VAL[0]]}\n")
    with pytest.raises(InputError, match=r"is for train, and .*val0.png is of split 'valid'; one"):
        prepared(top, tmp_path / "root", train_list="labels.csv", val_list="val.csv")
