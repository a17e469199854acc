"""Layouts that people have: `data prepare auto` reads each with the right label for
each image.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import pytest
import torch

from pipeline.artefacts.dataset import Dataset
from pipeline.configs.prepare import DEVKIT, PrepareConfig
from pipeline.errors import InputError
from pipeline.sources.layouts import recognise_layout
from pipeline.stages.prepare import prepare
from tests.commands import in_process
from tests.ilsvrc_archives import write_archives
from tests.labelled_pictures import by_colour, folders, picture, put

WNIDS = ("n01440764", "n01443537", "n02099601")
VAL = (2, 0, 1, 0)  # the class of each validation image, in the order of their names
NAMES = [f"ILSVRC2012_val_{k:08d}" for k in range(1, len(VAL) + 1)]


def prepared(top: Path, root: Path) -> Dataset:
    config = PrepareConfig(name="data", path=top, **recognise_layout(top).fields)
    return prepare(config, root, processes=1)


def train(top: Path, deeper: str = "") -> Path:
    for number, wnid in enumerate(WNIDS):
        put(top / deeper / wnid / f"{wnid}_1.JPEG", picture(number, "JPEG"))
    return top


def flat(folder: Path) -> Path:
    for name, label in zip(NAMES, VAL, strict=True):
        put(folder / f"{name}.JPEG", picture(label, "JPEG"))
    return folder


def by_class(folder: Path, wnids: Sequence[str] = WNIDS) -> Path:
    for wnid in wnids:
        put(folder / wnid / f"val_{wnid}.JPEG", picture(WNIDS.index(wnid), "JPEG"))
    return folder


def lines(path: Path, text: Callable[[str, str, int], str], head: str = "") -> None:
    rows = [text(name, WNIDS[k], k) for name, k in zip(NAMES, VAL, strict=True)]
    path.write_text(head + "".join(f"{row}\n" for row in rows))


def archives(top: Path) -> Path:
    images = {wnid: [(f"{wnid}_1.JPEG", picture(k, "JPEG"))] for k, wnid in enumerate(WNIDS)}
    write_archives(top, images, [(WNIDS[k], picture(k, "JPEG")) for k in VAL])
    return top


def kaggle(top: Path) -> Path:
    inside = top / "ILSVRC/Data/CLS-LOC"
    train(inside / "train")
    flat(inside / "val")
    put(inside / "test/ILSVRC2012_test_00000001.JPEG")
    head = "ImageId,PredictionString\n"
    lines(
        top / "LOC_val_solution.csv",
        lambda n, w, _: f"{n},{w} 85 1 499 272 {w} 4 6 70 80 ",
        head,
    )
    (top / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} words\n" for wnid in WNIDS))
    return top


def kaggles_folder(top: Path) -> Path:
    return kaggle(top) / "ILSVRC/Data/CLS-LOC"


def torchvisions(top: Path) -> Path:
    train(top / "train")
    by_class(top / "val")
    torch.save((dict.fromkeys(WNIDS, ("words",)), ["n0"]), top / "meta.bin")
    return top


def named(val: str) -> Callable[[Path], Path]:
    def write(top: Path) -> Path:
        train(top / "train")
        by_class(top / val)
        return top

    return write


def listed(place: str, text: Callable[[str, str, int], str], head: str = "") -> object:
    def write(top: Path) -> Path:
        train(top / "train")
        flat(top / "val")
        lines(top / place, text, head)
        return top

    return write


def with_devkit(top: Path) -> Path:
    archives(top / "raw")
    train(top / "train")
    flat(top / "val")
    (top / "raw" / DEVKIT).rename(top / DEVKIT)
    return top


def tiny(top: Path) -> Path:
    for number, wnid in enumerate(WNIDS):
        put(top / "train" / wnid / "images" / f"{wnid}_0.JPEG", picture(number, "JPEG"))
        (top / "train" / wnid / f"{wnid}_boxes.txt").write_text("x\t0\t0\t9\t9\n")
    flat(top / "val/images")
    lines(top / "val/val_annotations.txt", lambda n, w, _: f"{n}.JPEG\t{w}\t0\t32\t44\t62")
    put(top / "test/images/test_0.JPEG")
    (top / "wnids.txt").write_text("\n".join(WNIDS))
    return top


def nested(top: Path) -> Path:
    train(top / "train", "animals")
    (top / "train/animals" / WNIDS[2]).rename(top / "train" / WNIDS[2])
    by_class(top / "val/animals/fish")
    return top


def imagenette(top: Path) -> Path:
    """With its table of wrong labels, which is none of the data."""
    train(top / "train")
    by_class(top / "val")
    rows = f"train/{WNIDS[0]}/{WNIDS[0]}_1.JPEG,{WNIDS[1]},False\n"
    (top / "noisy_imagenette.csv").write_text(f"path,noisy_labels_0,is_valid\n{rows}")
    put(top / "train" / WNIDS[0] / ".DS_Store")
    return top


def one_class_less(top: Path) -> Path:
    train(top / "train")
    by_class(top / "val", WNIDS[:2])
    return top


def saved(top: Path) -> Path:
    def rows(labels: Sequence[int]) -> datasets.Dataset:
        images = [{"bytes": picture(k, "JPEG"), "path": None} for k in labels]
        features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(WNIDS))}
        return datasets.Dataset.from_dict(
            {"image": images, "label": list(labels)}, datasets.Features(features)
        )

    datasets.DatasetDict({"train": rows((0, 1, 2)), "validation": rows(VAL)}).save_to_disk(top)
    return top


LAYOUTS = {
    "kaggle": (kaggle, "Kaggle's ImageNet"),
    "kaggle's folder": (kaggles_folder, "Kaggle's ImageNet"),
    "torchvision": (torchvisions, "torchvision's ImageNet (meta.bin)"),
    **{name: (named(name), f"{name}/<class>/") for name in ("validation", "valid", "test")},
    "val.txt of places": (listed("val.txt", lambda n, _, k: f"{n}.JPEG {k}"), "by val.txt"),
    "val.txt of wnids": (listed("val/val.txt", lambda n, w, _: f"{n}.JPEG {w}"), "by val/val.txt"),
    "csv": (
        listed("val.csv", lambda n, w, _: f"{w},val/{n}.JPEG", "label,path\n"),
        "by val.csv",
    ),
    "tsv": (listed("val.tsv", lambda n, w, _: f"{n}.JPEG\t{w}"), "by val.tsv"),
    "metadata.csv": (
        listed("val/metadata.csv", lambda n, w, _: f"{n}.JPEG,{w}", "file_name,label\n"),
        "by val/metadata.csv",
    ),
    "devkit": (with_devkit, f"by {DEVKIT}"),
    "tiny-imagenet-200": (tiny, "Tiny ImageNet"),
    "imagenette": (imagenette, "train/<class>/ and val/<class>/"),
    "nested": (nested, "train/<class>/"),
    "a class less": (one_class_less, "train/<class>/"),
    "saved by datasets": (saved, "saved by Hugging Face datasets"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_recognised_and_read_right(name: str, tmp_path: Path) -> None:
    write, words = LAYOUTS[name]
    top = write(tmp_path / "images")  # type: ignore[operator]
    layout = recognise_layout(top)
    assert words in layout.words
    dataset = prepared(top, tmp_path / "root")
    assert dataset.classes == list(WNIDS)
    for split in ("train", "val"):
        assert all(label == colour for label, colour in by_colour(dataset, split))
    assert len(dataset.split("train")) == 3
    is_listed = "val_labels" in layout.fields or name == "saved by datasets"
    expected = len(VAL) if is_listed else 2 if name == "a class less" else len(WNIDS)
    assert len(dataset.split("val")) == expected
    assert dataset.manifest.num_rejected == 0


def test_numbered_folders_are_an_evaluation(tmp_path: Path) -> None:
    """As in ImageNet-V2: 10 stands behind 9, not behind 1."""
    top = tmp_path / "images"
    for number in range(12):
        put(top / str(number) / "image.jpeg", picture(number, "JPEG"))
    assert "class folders 0 to 11, as in ImageNet-V2" in recognise_layout(top).words
    dataset = prepared(top, tmp_path / "root")
    assert dataset.classes == [str(number) for number in range(12)]
    assert sorted(by_colour(dataset)) == [(number, number) for number in range(12)]
    put(top / "13" / "image.jpeg")
    with pytest.raises(InputError, match="has class folders and no train/"):
        recognise_layout(top)


def test_the_command_says_what_it_saw(tmp_path: Path) -> None:
    top = kaggle(tmp_path / "images")
    ended = in_process(
        "data", "prepare", "auto", top, "--name", "mine", "--root", tmp_path / "root",
        "--processes", 1,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert (
        f"{top}: Kaggle's ImageNet ({top}/LOC_val_solution.csv); as going-deeper data prepare"
        " imagefolder --train-folder ILSVRC/Data/CLS-LOC/train --val-folder"
        " ILSVRC/Data/CLS-LOC/val --val-labels LOC_val_solution.csv" in ended.stderr
    )
    assert "have their classes by LOC_val_solution.csv" in ended.stderr


def broken(text: str) -> Callable[[Path], Path]:
    def write(top: Path) -> Path:
        train(top / "train")
        flat(top / "val")
        (top / "val.txt").write_text(text)
        return top

    return write


def two_alike(top: Path) -> Path:
    train(top / "train")
    by_class(top / "train/animals")
    by_class(top / "val")
    return top


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda top: folders(top, "a", "b"), "has class folders and no train/: .* unsplit_folder"),
        (lambda top: train(top / "train").parent, "has train/ and none of val/, validation/"),
        (
            lambda top: flat(train(top / "train").parent / "val").parent,
            "no list of their classes is there; expected one of LOC_val_solution.csv",
        ),
        (broken(f"{NAMES[0]}.JPEG n00000001\n"), "is of class n00000001, which is none of train's"),
        (broken(f"{NAMES[0]}.JPEG 3\n"), "has labels 3 to 3 for 3 classes; .* from 0 on"),
        (broken("1\n2\n3\n1\n"), "has the line '1'; expected a file and its class a line"),
        (
            broken("".join(f"{name}.JPEG 0\n" for name in (*NAMES, "other"))),
            "names 5 images, of which 1 are not in .*/val .the first: other.JPEG",
        ),
        (broken(f"{NAMES[0]}.JPEG 0\n{NAMES[0]}.JPEG 1\n"), "has two classes"),
        (broken(""), "is empty"),
        (two_alike, "is a second folder of class n01440764, beside"),
        (lambda top: top, "no such folder"),
    ],
)
def test_what_is_not_clear_is_refused(
    write: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    top = write(tmp_path / "images")
    with pytest.raises(InputError, match=message):
        prepared(top, tmp_path / "root")
    assert not (tmp_path / "root/datasets").exists()


def test_an_image_without_a_class_is_named(tmp_path: Path) -> None:
    top = broken("".join(f"{name} {k}\n" for name, k in zip(NAMES, VAL, strict=True)))(tmp_path)
    put(top / "val/other.JPEG")
    dataset = prepared(top, tmp_path / "root")
    rows = (dataset.folder / "rejected.jsonl").read_text().splitlines()
    assert [json.loads(row)["name"] for row in rows] == ["other.JPEG"]
    assert by_colour(dataset) == [(k, k) for k in VAL]
