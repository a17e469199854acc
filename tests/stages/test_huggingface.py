"""Data sets of Hugging Face `datasets`: a folder that it saved, parquet files, and a
Hub in miniature.
"""

import io
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.stages.prepare import prepare
from tests.commands import TOP
from tests.hub_stub import hub

REVISION = "0123456789abcdef0123456789abcdef01234567"
NAMES = ["red", "green"]


def photograph(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(
        file, "JPEG"
    )
    return file.getvalue()


@pytest.fixture(scope="module")
def splits() -> datasets.DatasetDict:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    )
    tables = {}
    for split, first, count in (("train", 0, 6), ("validation", 10, 6)):
        images: list[dict[str, object] | None] = [
            {"bytes": photograph(first + k), "path": f"{k}.jpg"} for k in range(count)
        ]
        labels = [k % 2 for k in range(count)]
        if split == "validation":
            images[1] = {"bytes": b"no image", "path": "1.jpg"}
            images[2] = None
            labels[3] = -1
        tables[split] = datasets.Dataset.from_dict(
            {"image": images, "label": labels}, features=features
        )
    return datasets.DatasetDict(tables)


@pytest.fixture(scope="module")
def parquet(splits: datasets.DatasetDict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    (folder / "data").mkdir()
    datasets.disable_progress_bars()
    for split, rows in splits.items():
        rows.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def config(path: Path, **more: object) -> PrepareConfig:
    return PrepareConfig.model_validate(
        {"source": "datasets", "name": "colours", "path": path, **more}
    )


def test_saved_and_parquet_are_the_same(
    splits: datasets.DatasetDict, parquet: Path, tmp_path: Path
) -> None:
    """Every row is stored, or named with a reason."""
    splits.save_to_disk(tmp_path / "saved")
    one = prepare(config(tmp_path / "saved"), tmp_path / "one", processes=1)
    two = prepare(config(parquet), tmp_path / "two", processes=1)
    assert one.manifest.files == two.manifest.files
    assert one.classes == NAMES
    assert one.split("train").labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert one.split("train").encoded(4) == photograph(4)
    assert one.split("train").image_ids[0] == "train/00000000/0.jpg"
    reasons = {(item.name, item.reason, item.keeps_slot) for item in one.rejected}
    assert reasons == {
        ("val/00000001/1.jpg", "not an image", True),
        ("val/00000002", "the row has no bytes of an image", False),
        ("val/00000003/3.jpg", "label -1 is none of the classes", False),
    }
    facts = one.manifest
    assert facts.num_files == 12 == sum(facts.num_images.values()) + facts.num_rejected


def test_a_path_in_a_row_is_never_opened(splits: datasets.DatasetDict, tmp_path: Path) -> None:
    table = splits["train"].data.table
    image = pa.array(
        [{"bytes": None, "path": "/etc/passwd"}]
        + [{"bytes": photograph(k), "path": None} for k in range(5)]
    )
    rows = table.set_column(0, table.schema.field(0), image.cast(table.schema.field(0).type))
    (tmp_path / "data").mkdir()
    for name, content in (("train", table), ("validation", rows)):
        pq.write_table(content, tmp_path / "data" / f"{name}-0.parquet")
    dataset = prepare(config(tmp_path), tmp_path)
    assert [item.reason for item in dataset.rejected] == ["the row has no bytes of an image"]
    labels = pa.array([0, 1, 0, 1, 7, 1])
    pq.write_table(
        table.set_column(1, table.schema.field(1), labels), tmp_path / "data/validation-0.parquet"
    )
    dataset = prepare(config(tmp_path, name="other"), tmp_path)
    assert [item.reason for item in dataset.rejected] == ["label 7 is none of the classes"]


def test_several_processes_read_rows_alike(splits: datasets.DatasetDict, tmp_path: Path) -> None:
    """The shards are of one MiB, and the images are larger."""
    images = [{"bytes": photograph(k) + bytes(2**19), "path": None} for k in range(8)]
    rows = datasets.Dataset.from_dict(
        {"image": images, "label": [0, 1] * 4}, features=splits["train"].features
    )
    datasets.DatasetDict(train=rows, validation=splits["train"]).save_to_disk(tmp_path / "saved")
    by_processes = [
        prepare(
            config(tmp_path / "saved", shard_mib=1), tmp_path / f"root{number}", processes=number
        )
        for number in (1, 2)
    ]
    assert by_processes[0].manifest.files == by_processes[1].manifest.files
    assert len(by_processes[0].shards("train")) == 4


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"val_split": "test"}, "has no split test; it has train: set val_split"),
        ({"path": Path("/nowhere")}, "/nowhere: no such folder"),
        ({"path": Path("/etc")}, "has neither dataset_dict.json nor train-"),
    ],
)
def test_wrong_folders_are_named(
    parquet: Path, tmp_path: Path, more: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prepare(config(parquet).but(**more), tmp_path)


def test_columns_must_be_plain(splits: datasets.DatasetDict, tmp_path: Path) -> None:
    splits.rename_column("label", "answer").cast_column(
        "answer", datasets.Value("int64")
    ).save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match=r"has 0 columns of labels; choose one by .*, answer"):
        prepare(config(tmp_path / "saved"), tmp_path)


@pytest.mark.slow
def test_the_hub_is_asked_for_one_revision(parquet: Path, tmp_path: Path) -> None:
    """After that the cache is enough. A revision that it does not hold is refused, not
    replaced by the one that it holds.
    """

    def prepared(
        root: str, revision: str, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        command = [
            sys.executable,
            "-m",
            "pipeline",
            "data",
            "prepare",
            "hub",
            "me/colours",
            "--revision",
            revision,
        ]
        home = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        return subprocess.run(
            [*command, "--root", str(tmp_path / root)],
            cwd=TOP,
            env={**os.environ, **home, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    with hub(parquet, REVISION) as address:
        online = prepared("online", REVISION, HF_ENDPOINT=address)
        assert online.returncode == 0, online.stderr
        unknown = prepared("online", REVISION[::-1], HF_ENDPOINT=address)
    assert "colours: 6 train and 4 val images of 12 files" in online.stderr
    offline = prepared("offline", REVISION, HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    other = prepared("offline", REVISION[::-1], HF_HUB_OFFLINE="1")
    for wrong in (unknown, other):
        assert wrong.returncode == 2
        assert wrong.stderr.splitlines()[-1].startswith("going-deeper: hub:me/colours: ")
        assert "Traceback" not in wrong.stderr
    assert f"in place of revision {REVISION[::-1]}; go online" in other.stderr
