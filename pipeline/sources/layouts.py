"""Which source reads a folder, by what lies in it."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.configs.prepare import DEVKIT, TRAIN, VAL
from pipeline.errors import InputError
from pipeline.sources.clutter import clutter
from pipeline.sources.folders import IMAGES, is_image
from pipeline.sources.label_lists import has_splits
from pipeline.sources.splits import split_in
from pipeline.sources.webdataset import has_samples
from pipeline.sources.webdataset_shards import tars_in

KAGGLE = Path("ILSVRC/Data/CLS-LOC")
KAGGLE_LABELS = "LOC_val_solution.csv"
TINY_LABELS = "val_annotations.txt"
VAL_FOLDERS = ("val", "validation", "valid", "test")
# lists of the classes of validation images that lie in one folder, ours in this order
LISTS = (
    KAGGLE_LABELS,
    TINY_LABELS,
    *("val.txt", "val_list.txt", "val_labels.txt", "val_map.txt", "validation.txt"),
    *("val.csv", "val.tsv", "val_labels.csv", "metadata.csv", "labels.csv"),
    DEVKIT,
)
# of training images, and of validation images with a word of VAL_FOLDERS
TABLES = (
    *("{}.csv", "{}.tsv", "{}.txt", "{}_list.txt", "{}_labels.txt", "{}_map.txt"),
    *("{}_labels.csv", "{}_list.csv", "{}/metadata.csv"),
)
LOOKED_AT = 64  # ours: entries of a folder, to see what it holds
EXPECTED = (
    "ILSVRC-2012's archives, Kaggle's or torchvision's folders, train/<class>/ with"
    " val/<class>/ or val/ and a list, Tiny ImageNet, ImageNet-V2's numbered folders, WebDataset's"
    " tar files, tables of path and label (train.csv and val.csv, or one with a column split), or"
    " what Hugging Face datasets saved"
)


class Layout(NamedTuple):
    """The fields of a `PrepareConfig` that read a folder; words say what was seen."""

    fields: dict[str, Any]
    words: str

    @property
    def command(self) -> str:
        """The layout as the words behind `data prepare`, without the folder."""
        options = [f"--{n.replace('_', '-')} {v}" for n, v in self.fields.items() if n != "source"]
        return " ".join([str(self.fields["source"]), *options]).replace(" True", "")


def recognise_layout(path: Path) -> Layout:
    """Return how a folder is read.

    Raises:
        InputError: there is no such folder, it is none that is known, or two readings
            of it would give other data sets; the message says which command means
            which.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected {EXPECTED}")
    for look in (_archives, _webdataset, _kaggle, _tables, _listed, _folders, _numbered):
        if (layout := look(path)) is not None:
            return layout
    if tars := tars_in(path):
        raise InputError(
            f"{path}: has tar files that are neither ILSVRC-2012's archives nor WebDataset's (the"
            f" first: {tars[0].name}); expected KEY.jpg with KEY.cls or KEY.json in each, or a tar"
            " file that you unpack"
        )
    if sum(1 for entry in _some(path) if entry.is_dir()) >= 2:
        raise InputError(
            f"{path}: has class folders and no train/: going-deeper data prepare unsplit_folder"
            " splits them for a training, going-deeper data prepare labelled_folder takes all for"
            " an evaluation"
        )
    raise InputError(f"{path}: is no layout of images that is known; expected {EXPECTED}")


def _archives(path: Path) -> Layout | None:
    if not (path / VAL).is_file():
        return None
    if not (path / TRAIN).is_file():
        return Layout({"source": "ilsvrc2012", "only_val": True}, f"{VAL} without {TRAIN}")
    return Layout({"source": "ilsvrc2012"}, "ILSVRC-2012's archives")


def _webdataset(path: Path) -> Layout | None:
    """Tar files of which the first begins with an image and its label."""
    tars = tars_in(path)
    if not tars or not has_samples(tars[0]):
        return None
    fields: dict[str, Any] = {"source": "webdataset"}
    splits = {split_in(tar.stem) or split_in(tar.parent.name) for tar in tars}
    if "train" not in splits:
        fields["only_val"] = True
    return Layout(fields, f"WebDataset's tar files ({len(tars)}, the first: {tars[0].name})")


def _tables(path: Path) -> Layout | None:
    if (path / "dataset_dict.json").is_file():
        return Layout({"source": "datasets"}, "saved by Hugging Face datasets")
    # not deeper: a folder of ImageNet has a million files
    if any(next(path.glob(each), None) is not None for each in ("*.parquet", "*/*.parquet")):
        return Layout({"source": "datasets"}, "parquet files")
    return None


def _kaggle(path: Path) -> Layout | None:
    """Kaggle's download, or its folder CLS-LOC below."""
    for top in (path / KAGGLE, path):
        for place in (path, path.parent, path.parent.parent, path.parent.parent.parent):
            labels = place / KAGGLE_LABELS
            if (top / "train").is_dir() and (top / "val").is_dir() and labels.is_file():
                fields = {
                    "source": "imagefolder",
                    "train_folder": str((top / "train").relative_to(path)),
                    "val_folder": str((top / "val").relative_to(path)),
                    "val_labels": _beside(labels, path),
                }
                if not _has_class_folders(top / "val"):
                    return Layout(fields, f"Kaggle's ImageNet ({labels})")
    return None


def _listed(path: Path) -> Layout | None:
    """A table of training images and one of validation images, or one of both."""
    if (path / "train").is_dir() and _has_class_folders(path / "train"):
        return None
    for form in TABLES:
        vals = [form.format(name) for name in VAL_FOLDERS if (path / form.format(name)).is_file()]
        train = form.format("train")
        if (path / train).is_file() and vals:
            fields = {"source": "listed", "train_list": train, "val_list": vals[0]}
            return Layout(fields, f"images listed by {train} and {vals[0]}")
    tables = [each for each in _some(path) if each.suffix in (".csv", ".tsv") and has_splits(each)]
    if len(tables) > 1:
        raise InputError(
            f"{path}: has several tables of files, classes and splits"
            f" ({', '.join(sorted(each.name for each in tables))}): going-deeper data prepare"
            " listed FOLDER --train-list TABLE takes one"
        )
    for table in tables:
        return Layout(
            {"source": "listed", "train_list": table.name},
            f"images of all splits listed by {table.name}",
        )
    return None


def _folders(path: Path) -> Layout | None:
    """train/ with class folders, and a folder of validation images."""
    if not (path / "train").is_dir():
        return None
    there = [name for name in VAL_FOLDERS if (path / name).is_dir()]
    if not there:
        raise InputError(
            f"{path}: has train/ and none of {', '.join(f'{name}/' for name in VAL_FOLDERS)};"
            " expected one with validation images"
        )
    name = there[0]
    fields: dict[str, Any] = {"source": "imagefolder"}
    if name != "val":
        fields["val_folder"] = name
    others = f"; {', '.join(f'{each}/' for each in there[1:])} is not read" if there[1:] else ""
    if _has_class_folders(path / name):
        kind = "torchvision's ImageNet (meta.bin), " if (path / "meta.bin").is_file() else ""
        return Layout(fields, f"{kind}train/<class>/ and {name}/<class>/{others}")
    folder = path / name / IMAGES if (path / name / IMAGES).is_dir() else path / name
    lists = [
        place / each for place in (path / name, path) for each in LISTS if (place / each).is_file()
    ]
    if not lists:
        raise InputError(
            f"{path}: the images of {name}/ lie in no class folders, and no list of their classes"
            f" is there; expected one of {', '.join(LISTS)} in {name}/ or beside it"
        )
    if folder != path / name or name != "val":
        fields["val_folder"] = str(folder.relative_to(path))
    fields["val_labels"] = _beside(lists[0], path)
    kind = "Tiny ImageNet" if lists[0].name == TINY_LABELS else f"train/<class>/ and {name}/"
    return Layout(fields, f"{kind}, labelled by {lists[0].relative_to(path)}{others}")


def _numbered(path: Path) -> Layout | None:
    """Folders 0 to N - 1, as in ImageNet-V2: images for an evaluation."""
    there = {e.name for e in path.iterdir() if not clutter(e.name) and e.is_dir()}
    if len(there) < 2 or there != {str(number) for number in range(len(there))}:
        return None
    words = f"class folders 0 to {len(there) - 1}, as in ImageNet-V2, for an evaluation"
    return Layout({"source": "labelled_folder"}, words)


def _has_class_folders(folder: Path) -> bool:
    """Return whether images lie in folders of their classes."""
    there = [entry for entry in _some(folder) if entry.is_dir() and entry.name != IMAGES]
    return len(there) >= 1 and not any(is_image(entry) for entry in _some(folder))


def _some(folder: Path) -> Iterator[Path]:
    """Yield some entries of a folder, as one may hold a million."""
    return islice((e for e in folder.iterdir() if not clutter(e.name)), LOOKED_AT)


def _beside(file: Path, path: Path) -> str:
    """Return a file's path as seen from a folder."""
    up = 0
    top = path
    while not file.is_relative_to(top):
        top, up = top.parent, up + 1
    return str(Path(*[".."] * up) / file.relative_to(top))
