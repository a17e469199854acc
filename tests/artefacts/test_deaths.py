"""Whoever writes an artefact may die at any operation on files, or have a full disk
from there on: who goes on ends with the bytes of an undisturbed run.

Deaths during saves of checkpoints are in test_checkpoints.py.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artefacts.checkpoints import load
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.run import Run
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.runtime import disk
from pipeline.stages.prepare import prepare
from tests.crash_points import assert_no_trace
from tests.faults.campaign import amount
from tests.sealed import EVALUATION, MACHINE, run_facts, seal

pytestmark = [pytest.mark.usefixtures("unsynced"), pytest.mark.processes]


def test_write_atomic_and_publish(tmp_path: Path) -> None:
    """A file is whole, or as it was before."""
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "replaced").write_bytes(b"before")

    def work(root: Path) -> None:
        disk.write_atomic(root / "deep/written", b"content")
        disk.write_atomic(root / "replaced", b"after")
        disk.publish(root / "published", b"first")
        disk.publish(root / "published", b"second")

    def whole(root: Path) -> None:
        assert (root / "replaced").read_bytes() in (b"before", b"after")
        for name, content in (("deep/written", b"content"), ("published", b"first")):
            assert not (root / name).exists() or (root / name).read_bytes() == content

    assert_no_trace(tmp_path, prepared, work, 25, whole)


def test_shards_and_their_manifest(tmp_path: Path) -> None:
    """Two shards, their notes, the lists and the seal: of a shard no part can be
    seen.
    """
    images, prepared = tmp_path / "images", tmp_path / "prepared"
    for number, (split, name) in enumerate(
        (s, n) for s in ("train", "val") for n in ("blue", "red")
    ):
        (images / split / name).mkdir(parents=True)
        Image.new("RGB", (40, 50), (60 * number, 0, 200)).save(images / split / name / "0.png")
    prepared.mkdir()
    config = PrepareConfig(source="imagefolder", name="flat", path=images)

    def work(root: Path) -> None:
        dataset = prepare(config, root, processes=1)
        assert [len(dataset.split(split)) for split in ("train", "val")] == [2, 2]

    assert_no_trace(tmp_path, prepared, work, 60, every=amount(5, 1))


@pytest.fixture
def sealed_run(tmp_path: Path, data: PrepareConfig, run_config: TrainConfig) -> Path:
    """A root with images and a run that was never trained."""
    root = tmp_path / "prepared"
    prepare(data, root, processes=1)
    seal(run_config, root)
    return root


def test_predictions(
    tmp_path: Path, sealed_run: Path, data: PrepareConfig, run_config: TrainConfig
) -> None:
    """Two chunks, then their merge and the seal; a chunk that was published is not made
    again.
    """
    config = EvaluateConfig(data=data, classifier=run_config, policies=("crops_1", "crops_10"))
    scores = np.random.default_rng(0).dirichlet(np.ones(3), 6).astype(np.float32)
    chunks = (range(4), range(4, 6))

    def work(root: Path) -> None:
        predictions = Predictions(config, root)
        if config.is_complete(root):
            return
        for chunk in chunks:
            if not predictions.has_chunk(chunk):
                mine = scores[chunk.start : chunk.stop]
                predictions.publish_chunk(
                    chunk, dict.fromkeys(config.policies, mine), {}, 1.0, "drawn"
                )
        predictions.merge(chunks, [f"{k}" for k in range(6)], np.arange(6) % 3, EVALUATION)

    def whole(root: Path) -> None:
        if config.is_complete(root):
            assert np.array_equal(Predictions(config, root).probabilities("crops_10"), scores)

    assert_no_trace(tmp_path, sealed_run, work, 40, whole, amount(3, 1))


def small_training(config: TrainConfig, root: Path) -> None:
    """What a training writes: two steps, each a row and a checkpoint, then the final
    weights and the seal.
    """
    if config.is_complete(root):
        return
    run = Run(config, root)
    run.claim(MACHINE, "")
    newest = run.checkpoints.newest()
    done = load(newest)["step"] if newest else 0
    run.rewind_metrics(done)
    for step in range(done + 1, 3):
        run.log({"step": step, "loss": 1 / step})
        run.save_checkpoint(step, {"step": step}, error=None)
    run.finish(
        {"averaged": {"weight": torch.ones(3)}, "raw": {"weight": torch.zeros(3)}},
        run_facts(),
        "card\n",
    )


@pytest.mark.slow  # a hundred deaths, each a process
def test_a_run(tmp_path: Path, data: PrepareConfig, run_config: TrainConfig) -> None:
    """Attempt, rows of metrics, checkpoints, final weights, seal."""
    prepared = tmp_path / "prepared"
    prepare(data, prepared, processes=1)

    def sealed_last(root: Path) -> None:
        if run_config.is_complete(root):
            assert [row["step"] for row in Run(run_config, root).metrics()] == [1, 2]
            assert Run(run_config, root).weights("raw")["weight"].tolist() == [0, 0, 0]

    assert_no_trace(
        tmp_path,
        prepared,
        lambda root: small_training(run_config, root),
        80,
        sealed_last,
        amount(5, 1),
    )


def test_rows_of_metrics_that_were_cut_short(
    tmp_path: Path, data: PrepareConfig, run_config: TrainConfig
) -> None:
    """Cut at any byte, as by a power cut: rows that are whole are read, and the run
    goes on from its checkpoint.
    """
    prepare(data, tmp_path, processes=1)
    run = Run(run_config, tmp_path)
    run.claim(MACHINE, "")
    rows = [{"step": step, "loss": 1 / step, "dead_outputs": 0} for step in (1, 2, 3)]
    for row in rows:
        run.log(row)
    content = run.metrics_path.read_bytes()
    # without the line feed
    ends = [len(b"".join(content.splitlines(keepends=True)[:number])) - 1 for number in (1, 2, 3)]
    for length in range(len(content) + 1):
        run.metrics_path.write_bytes(content[:length])
        assert run.metrics() == rows[: sum(end <= length for end in ends)], length
        run.rewind_metrics(1)
        kept = [row for row in rows[:1] if ends[0] <= length]
        for row in rows[1:]:
            run.log(row)
        assert run.metrics() == kept + rows[1:], length
