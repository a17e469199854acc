"""What a training says when something goes wrong, or soon will."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.artefacts import locks
from pipeline.artefacts.dataset import Dataset, Split
from pipeline.artefacts.digests import digest_of
from pipeline.artefacts.run import Run
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, TrainingDiverged
from pipeline.runtime import environment
from pipeline.stages.train import train
from pipeline.training import health
from pipeline.training.cadence import Cadence, Step
from pipeline.training.loader import keys
from tests.sealed import reseal


def test_an_output_that_learns_nothing_is_named(
    root: Path,
    run_config: TrainConfig,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line comes once, and only after the output has had time to learn."""
    monkeypatch.setattr(health, "PATIENCE_STEPS", 30)
    config = run_config.but(num_epochs=20, learning_rate=1e-9, class_balance=0.0)
    config = config.but(checkpoint_every_seconds=60.0, validate_every_epochs=20)
    train(config, root)
    messages = capsys.readouterr().err
    for name in ("main", "4a", "4d"):
        assert messages.count(f"output {name} learns nothing: its loss at step 40 is ") == 1
    assert "a guess gives 1.099; see learning_rate" in messages
    assert [
        row["dead_outputs"] for row in Run(config, root).metrics() if "dead_outputs" in row
    ] == [0, 3, 3]


def test_a_training_on_other_data_is_refused(
    root: Path, run_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config
    monkeypatch.setattr(Run, "finish", lambda *_: None)
    train(config, root)
    monkeypatch.undo()
    manifest = root / config.data.folder / "manifest.json"
    content = manifest.read_text()

    def without_leaks(facts: dict[str, Any]) -> None:
        del facts["files"]["leaks.jsonl"]
        facts["digest"] = digest_of(facts["files"])

    reseal(manifest, without_leaks)
    with pytest.raises(
        InputError,
        match=r"step_00000011: was trained on other data than .*; remove .* to begin anew",
    ):
        train(config, root)
    manifest.write_text(content)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_was_damaged_since_is_named(
    root: Path, run_config: TrainConfig, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """A loader's process names it too."""
    monkeypatch.setattr(environment, "cores_per_rank", lambda: 1 + workers)
    monkeypatch.setattr(Split, "encoded", lambda *_: b"no image")
    with pytest.raises(
        InputError,
        match=rf"^{root}/datasets/\w+: image \w+/\d.jpg: not an image; remove it to prepare",
    ) as raised:
        train(run_config, root)
    assert "\n" not in str(raised.value)


def test_divergence_is_said(root: Path, run_config: TrainConfig) -> None:
    """The first step whose loss is no number is named, and a file names its images."""
    config = run_config.but(learning_rate=1e6)
    with pytest.raises(
        TrainingDiverged,
        match=r"loss is (nan|inf) at step (\d); lower learning_rate, .* postmortem.json names",
    ) as raised:
        train(config, root)
    facts = json.loads((root / config.folder / "postmortem.json").read_text())
    assert f" at step {facts['step']};" in str(raised.value)
    assert not all(math.isfinite(float(loss)) for loss in facts["losses"])
    assert len(facts["losses_before"]) < facts["step"]
    assert all(math.isfinite(loss) for losses in facts["losses_before"] for loss in losses)
    split = Dataset(config.data, root).split("train")
    (batch,) = keys(config, split.labels, range(facts["step"] - 1, facts["step"]), 0, 1)
    assert facts["images"] == [split.image_ids[index] for _, index in batch]


def test_divergence_is_seen_within_a_long_window(
    root: Path, run_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training of ten million steps has windows of 520."""
    monkeypatch.setattr(Cadence, "window", 520)
    steps, of_number = list[int](), Cadence.step

    def step(cadence: Cadence, number: int) -> Step:
        steps.append(number)
        return of_number(cadence, number)

    monkeypatch.setattr(Cadence, "step", step)
    config = run_config.but(learning_rate=1e6, num_epochs=20)
    config = config.but(checkpoint_every_seconds=60, validate_every_epochs=20)
    with pytest.raises(TrainingDiverged, match=r"loss is (nan|inf) at step \d;"):
        train(config, root)
    assert max(steps) == 20


def test_batch_that_ranks_cannot_share_is_refused(run_config: TrainConfig) -> None:
    config = run_config.but(global_batch_size=7)
    config.refuse_ranks(1)
    config.refuse_ranks(7)
    with pytest.raises(InputError, match="global_batch_size 7 cannot be shared equally by 2 ranks"):
        config.refuse_ranks(2)


def test_second_trainer_is_told_who_holds_the_run(root: Path, run_config: TrainConfig) -> None:
    config = run_config
    with (
        locks.lock(config, root),
        pytest.raises(InputError, match=f"is being made already by process {os.getpid()} on "),
    ):
        train(config, root)
