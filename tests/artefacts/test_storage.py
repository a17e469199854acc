"""Files are whole or absent; artefacts are sealed last and refuse inputs that
changed.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from pipeline.artefacts import sealing
from pipeline.artefacts.dataset import LEAK_ROWS, LEAKS, Dataset
from pipeline.artefacts.digests import digest_of
from pipeline.artefacts.shard_checks import check_shard
from pipeline.artefacts.shards import Record, write_shard
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.images import decode as images
from pipeline.runtime import disk
from pipeline.stages.prepare import prepare
from tests.sealed import reseal, seal


def test_publish_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "chunk"
    assert disk.publish(path, b"first")
    assert not disk.publish(path, b"second")
    assert path.read_bytes() == b"first"
    disk.write_atomic(path, b"third")
    assert path.read_bytes() == b"third"
    assert [file.name for file in path.parent.iterdir()] == ["chunk"]


def test_seal_names_everything(tmp_path: Path, data: PrepareConfig) -> None:
    prepare(data, tmp_path)
    sealed = json.loads((tmp_path / data.folder / "manifest.json").read_text())
    assert sealed["files"].keys() == {
        "train-00000.arrow",
        "val-00000.arrow",
        "rejected.jsonl",
        "leaks.jsonl",
    }
    for name, digest in sealed["files"].items():
        path = tmp_path / data.folder / (sealed["shards"] if name.endswith(".arrow") else "") / name
        assert digest == (
            disk.sha256(path)
            if path.suffix == ".jsonl"
            else check_shard(path, sealed["classes"])[0]
        )
    assert sealed["hash"] == data.hash
    assert {"commit", "dirty", "command", "versions", "machine", "finished_at"} <= sealed[
        "provenance"
    ].keys()


def test_replaced_input_is_refused(
    tmp_path: Path, data: PrepareConfig, run_config: TrainConfig
) -> None:
    prepare(data, tmp_path)
    seal(run_config, tmp_path)
    sealing.unseal(run_config, tmp_path)
    manifest = tmp_path / data.folder / data.last_file
    reseal(manifest, lambda facts: facts.update(files={}, digest=digest_of({})))
    with pytest.raises(InputError, match=r"was made from datasets/.* but that now has 4413"):
        sealing.unseal(run_config, tmp_path)


def test_missing_input_is_named(
    tmp_path: Path, data: PrepareConfig, run_config: TrainConfig
) -> None:
    evaluation = EvaluateConfig(data=data, classifier=run_config)
    with pytest.raises(
        InputError, match=r"manifest.json: does not exist; run the prepare stage first"
    ):
        seal(evaluation, tmp_path)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (
            lambda facts: facts.update(steps="12"),
            "is damaged (steps = '12': Input should be a valid integer)",
        ),
        (lambda facts: facts.update(stepz=facts.pop("steps")), "is damaged (steps: is missing)"),
        (
            lambda facts: facts.update(more=1),
            "is damaged (more = 1: Extra inputs are not permitted)",
        ),
        (
            lambda facts: facts["provenance"].pop("commit"),
            "is damaged (provenance.commit: is missing)",
        ),
        (lambda facts: facts["inputs"].clear(), "names no input datasets/HASH"),
    ],
)
def test_a_wrong_field_is_refused_in_one_line(
    tmp_path: Path,
    run_config: TrainConfig,
    edit: Callable[[dict[str, Any]], object],
    expected: str,
) -> None:
    seal(run_config.data, tmp_path)
    seal(run_config, tmp_path)
    path = tmp_path / run_config.folder / run_config.last_file
    reseal(path, edit)
    with pytest.raises(InputError) as refused:
        sealing.RUN.unseal(run_config, tmp_path)
    problem = expected.replace("HASH", run_config.data.hash)
    assert str(refused.value) == f"{path}: {problem}; remove {path.parent} to make it anew"


def test_what_is_no_number_is_kept(tmp_path: Path, run_config: TrainConfig) -> None:
    """JSON in Python has NaN and infinities, so a file says what was measured."""
    seal(run_config.data, tmp_path)
    seal(run_config, tmp_path, core_or_gpu_hours=float("nan"), seconds=float("inf"))
    run = sealing.RUN.unseal(run_config, tmp_path)
    assert np.isnan(run.core_or_gpu_hours)
    assert run.seconds == float("inf")


def test_a_wrong_row_is_refused_in_one_line(tmp_path: Path, data: PrepareConfig) -> None:
    dataset = prepare(data, tmp_path, processes=1)
    path = dataset.folder / LEAKS
    path.write_text(
        '{"val": "a", "train": "b", "sha256": "0"}\n{"val": "a", "train": 3, "sha256": "0"}\n'
    )
    with pytest.raises(InputError, match=r"leaks.jsonl: is damaged \(digest .* --repair"):
        _ = dataset.leaks
    with pytest.raises(InputError, match=r"leaks.jsonl: is damaged; .* \(1.train = 3: Input"):
        sealing.read_rows(path, LEAK_ROWS)


def test_shards_open_without_our_code(tmp_path: Path, data: PrepareConfig) -> None:
    split = prepare(data, tmp_path).split("val")
    rows = datasets.load_dataset(
        "arrow",
        data_files=str(tmp_path / data.folder / "shards/*/val-*.arrow"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert rows["image_id"] == split.image_ids
    assert rows["label"] == split.labels.tolist()
    assert rows.features["label"].names == ["blue", "green", "red"]
    pixels = np.asarray(rows[3]["image"])
    assert (pixels == np.asarray(images.decode(split.encoded(3)))).all()


def test_preparing_again_gives_the_same_bytes(tmp_path: Path, data: PrepareConfig) -> None:
    first = prepare(data, tmp_path).manifest
    shutil.rmtree(tmp_path / data.folder)
    assert (
        prepare(data, tmp_path).manifest.digest
        == first.digest
        == Dataset(data, tmp_path).manifest.digest
    )


def test_a_shard_begins_as_an_arrow_file(tmp_path: Path) -> None:
    """pyarrow reads from the end, and does not look at the first bytes."""
    path = tmp_path / "train-00000.arrow"
    record = Record("a.png", b"bytes", 0, 1, 1, hashlib.sha256(b"bytes").hexdigest())
    write_shard(path, ["one"], [record])
    assert check_shard(path, ["one"])[1:] == (1, [])
    path.write_bytes(b"B" + path.read_bytes()[1:])
    with pytest.raises(InputError, match="does not begin as an Arrow file"):
        check_shard(path, ["one"])
