"""Tables of images as people have them: no metadata, numbers or names as labels, two
columns of labels, one split, images by path.
"""

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artefacts.dataset import Dataset
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.stages.prepare import prepare
from tests.labelled_pictures import by_colour, picture, put

COLOURS = (2, 0, 1, 0)
Columns = dict[str, Any]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def written(folder: Path, columns: Columns) -> Path:
    (folder / "data").mkdir(parents=True)
    for split in ("train", "validation"):
        pq.write_table(pa.table(columns), folder / f"data/{split}-00000-of-00001.parquet")
    return folder


def images(form: str = "struct") -> Any:
    encoded = [picture(number) for number in COLOURS]
    if form == "bytes":
        return pa.array(encoded, pa.binary())
    return pa.array([{"bytes": each, "path": None} for each in encoded])


def prepared(folder: Path, root: Path, **more: object) -> Dataset:
    config = PrepareConfig(source="datasets", name="colours", path=folder, **more)
    return prepare(config, root, processes=1)


@pytest.mark.parametrize("form", ["struct", "bytes"])
@pytest.mark.parametrize(
    ("labels", "fields", "classes"),
    [
        (list(COLOURS), {}, ["0", "1", "2"]),
        ([10 * k for k in COLOURS], {}, ["0", "10", "20"]),
        (list(COLOURS), {"classes": ("a", "c", "b")}, ["a", "c", "b"]),
        (["ant", "bee", "cat"], {}, ["ant", "bee", "cat"]),
        (["cat", "bee", "ant"], {"classes": ("cat", "bee", "ant")}, ["cat", "bee", "ant"]),
    ],
)
def test_numbers_and_names_without_metadata(
    form: str, labels: list[Any], fields: Columns, classes: list[str], tmp_path: Path
) -> None:
    if len(labels) == 3:  # names, by class
        labels = [labels[k] for k in COLOURS]
    folder = written(tmp_path / "table", {"img": images(form), "label": labels})
    dataset = prepared(folder, tmp_path / "root", **fields)
    assert dataset.classes == classes
    assert by_colour(dataset, "train") == by_colour(dataset) == [(k, k) for k in COLOURS]


def test_of_two_columns_of_labels_one_is_chosen(tmp_path: Path) -> None:
    columns = {"image": images(), "label": [1, 1, 1, 0], "fine_label": list(COLOURS)}
    folder = written(tmp_path / "table", columns)
    with pytest.raises(InputError, match=r"2 columns of labels \(label, fine_label\)"):
        prepared(folder, tmp_path / "root")
    dataset = prepared(folder, tmp_path / "root", label_column="fine_label")
    assert by_colour(dataset) == [(k, k) for k in COLOURS]
    with pytest.raises(InputError, match="has no column fine_labels; did you mean fine_label"):
        prepared(folder, tmp_path / "other", label_column="fine_labels")


def test_a_row_without_a_label_is_of_no_class(tmp_path: Path) -> None:
    folder = written(tmp_path / "table", {"image": images(), "label": [2, None, 1, -1]})
    dataset = prepared(folder, tmp_path / "root")
    assert dataset.classes == ["1", "2"]
    assert [item.reason for item in dataset.rejected] == ["label -1 is none of the classes"] * 4


@pytest.mark.parametrize(
    ("columns", "fields", "message"),
    [
        ({"image": images()}, {}, "has 0 columns of labels; choose one by --label-column"),
        ({"label": list(COLOURS)}, {}, "has 0 columns of images, expected one"),
        ({"image": images(), "label": [0.5] * 4}, {}, "column label holds float; expected whole"),
        (
            {"image": images(), "label": list(COLOURS)},
            {"classes": ("a", "b")},
            "column label has 2, which is none of the 2 classes of --classes",
        ),
    ],
)
def test_what_is_not_clear_leads_on(
    columns: Columns, fields: Columns, message: str, tmp_path: Path
) -> None:
    folder = written(tmp_path / "table", columns)
    with pytest.raises(InputError, match=message):
        prepared(folder, tmp_path / "root", **fields)


def test_one_split_is_for_validation(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"image": images().to_pylist(), "label": list(COLOURS)})
    rows.save_to_disk(tmp_path / "saved")
    dataset = prepared(tmp_path / "saved", tmp_path / "root", only_val=True)
    assert by_colour(dataset) == [(k, k) for k in COLOURS]
    with pytest.raises(InputError, match=r"has no split train; .* go without train by"):
        prepared(tmp_path / "saved", tmp_path / "other")


def test_images_by_path_lie_in_the_folder(tmp_path: Path) -> None:
    for number in range(3):
        put(tmp_path / f"table/images/{number}.png", picture(number))
    put(tmp_path / "outside.png", picture(1))
    names = ["images/2.png", "images/0.png", "images/1.png", "../outside.png", "/etc/passwd", "no"]
    rows = pa.array([{"bytes": None, "path": name} for name in names])
    folder = written(tmp_path / "table", {"image": rows, "label": [2, 0, 1, 1, 1, 1]})
    dataset = prepared(folder, tmp_path / "root", only_val=True)
    assert by_colour(dataset) == [(2, 2), (0, 0), (1, 1)]
    assert [item.reason for item in dataset.rejected] == ["the row has no bytes of an image"] * 3
