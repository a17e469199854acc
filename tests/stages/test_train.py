"""A training that was killed ends with the same bits as one that was not."""

import json
import math
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipeline import recipes
from pipeline.adapters import ranks
from pipeline.adapters.distortions import distort
from pipeline.adapters.loader import keys
from pipeline.artefacts import storage
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.run import Run
from pipeline.paper.augmentation import Distortion
from pipeline.stages.prepare import prepare
from pipeline.stages.train import TrainingDiverged, train
from pipeline.study import InputError, PrepareConfig, TrainConfig


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, data: PrepareConfig) -> Path:
    folder = tmp_path_factory.mktemp("root")
    prepare(data, folder)
    return folder


def final(config: TrainConfig, root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / config.folder / "final").iterdir())}


def losses(config: TrainConfig, root: Path) -> list[float]:
    return [row["loss"] for row in Run(config, root).metrics() if "loss" in row]


@pytest.fixture(scope="module")
def undisturbed(root: Path, run_config: TrainConfig) -> dict[str, bytes]:
    """The final weights of a run on two ranks that nothing interrupted."""
    ranks.launch(train, 2, run_config, root)
    found = final(run_config, root)
    shutil.move(root / run_config.folder, root / "undisturbed")
    return found


def test_a_run_is_whole(root: Path, run_config: TrainConfig, undisturbed: dict[str, bytes]) -> None:
    folder = root / "undisturbed"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    sealed = json.loads((folder / "run.json").read_text())
    assert sealed["steps"] == 12
    assert sealed["world_size"] == 2
    assert [row["epoch"] for row in rows if "val_top5_error_averaged" in row] == [1.0, 2.0, 3.0, 4.0]
    assert undisturbed.keys() == {"model.safetensors", "raw.safetensors"}
    assert undisturbed["model.safetensors"] != undisturbed["raw.safetensors"]
    assert not (folder / "checkpoints").exists()


def test_killed_runs_end_with_the_same_bits(root: Path, run_config: TrainConfig, undisturbed: dict[str, bytes]) -> None:
    """SIGKILL to the parent of both ranks as soon as another checkpoint is there, again and again."""
    spawn = multiprocessing.get_context("spawn")
    seen: set[str] = set()
    for _ in range(3):
        process = spawn.Process(target=ranks.launch, args=(train, 2, run_config, root))
        process.start()
        deadline = time.monotonic() + 60
        while process.is_alive() and time.monotonic() < deadline:
            found = {path.name for path in (root / run_config.folder / "checkpoints").glob("step_*")}
            if found - seen:
                seen |= found
                os.kill(process.pid or 0, signal.SIGKILL)
                break
            time.sleep(0.002)
        process.join()
        _wait_for_orphans(root, run_config)
    assert seen
    ranks.launch(train, 2, run_config, root)
    assert final(run_config, root) == undisturbed
    steps = [(row["step"], "loss" in row) for row in Run(run_config, root).metrics()]
    assert len(steps) == len(set(steps))


def _wait_for_orphans(root: Path, config: TrainConfig) -> None:
    """Ranks end with their parent; until then the run's lock is held."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with storage.lock(config, root):
                return
        except InputError:
            time.sleep(0.05)
    raise AssertionError("the ranks outlived their parent")


def test_damaged_checkpoint_is_passed_over(
    root: Path, run_config: TrainConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config.but(data_seed=7)
    train(config, root)
    expected = final(config, root)
    shutil.rmtree(root / config.folder)
    monkeypatch.setattr(Run, "finish", lambda *_: None)
    train(config, root)
    checkpoints = sorted((root / config.folder / "checkpoints").iterdir())
    assert [path.name for path in checkpoints] == ["step_00000010", "step_00000011"]
    state = checkpoints[-1] / "state.pt"
    state.write_bytes(state.read_bytes()[:-1])
    monkeypatch.undo()
    capsys.readouterr()
    train(config, root)
    said = capsys.readouterr().err
    assert f"{checkpoints[-1]}: checkpoint is damaged" in said
    assert "resumes at step 10 of 12" in said
    assert final(config, root) == expected


def test_world_sizes_agree(root: Path, run_config: TrainConfig) -> None:
    """The same images in the same steps; only the order of the sums differs."""
    config = run_config.but(data_seed=3, network=run_config.network.but(aux_heads=(), dropout=0.0))
    weights = []
    for world_size in (1, 2):
        ranks.launch(train, world_size, config, root)
        weights.append(load_file(root / config.folder / "final/raw.safetensors"))
        shutil.rmtree(root / config.folder)
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=0, atol=1e-5)


def test_it_learns(root: Path, run_config: TrainConfig) -> None:
    config = run_config.but(num_epochs=40, clip_norm=1.0, warmup_epochs=5, checkpoint_every_seconds=60.0)
    train(config, root)
    rows = [row for row in Run(config, root).metrics() if "val_top1_error_raw" in row]
    assert rows[-1]["val_top1_error_raw"] <= 0.2


def test_divergence_is_said(root: Path, run_config: TrainConfig) -> None:
    """The first step whose loss is no number is named, and a file names its images."""
    config = run_config.but(learning_rate=1e6)
    with pytest.raises(
        TrainingDiverged, match=r"loss is (nan|inf) at step (\d); lower learning_rate, .* postmortem.json names"
    ) as raised:
        train(config, root)
    facts = json.loads((root / config.folder / "postmortem.json").read_text())
    assert f"loss is {facts['loss']} at step {facts['step']};" in str(raised.value)
    assert len(facts["losses_before"]) < facts["step"]
    assert all(math.isfinite(loss) for loss in facts["losses_before"])
    split = Dataset(config.data, root).split("train")
    (batch,) = keys(config, split.labels, range(facts["step"] - 1, facts["step"]), 0, 1)
    assert facts["images"] == [split.image_ids[index] for _, index in batch]


def test_batch_that_ranks_cannot_share_is_refused(root: Path, run_config: TrainConfig) -> None:
    config = run_config.but(global_batch_size=7)
    with pytest.raises(InputError, match="global_batch_size 7 cannot be shared equally by 2 ranks"):
        ranks.launch(train, 2, config, root)


def test_second_trainer_is_told_who_holds_the_run(root: Path, run_config: TrainConfig) -> None:
    config = run_config.but(data_seed=99)
    with storage.lock(config, root), pytest.raises(InputError, match=f"is being made already by process {os.getpid()} on "):
        train(config, root)


@pytest.mark.parametrize("recipe", [recipes.paper, recipes.caffe_quick])
def test_recipes_train(root: Path, data: PrepareConfig, run_config: TrainConfig, recipe: Callable[..., TrainConfig]) -> None:
    """Each named recipe runs, on a very small network; so does equal-weight averaging from a later epoch."""
    config = recipe(data, num_epochs=2, network=run_config.network).but(averaging="equal", averaging_start_epoch=1)
    train(config, root)
    assert {"model.safetensors", "raw.safetensors"} == final(config, root).keys()
    assert all(loss > 0 for loss in losses(config, root))


def test_distortions_change_pixels_as_they_say() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    same = distort(pixels, Distortion((("contrast", 1.0), ("brightness", 1.0), ("colour", 1.0)), (0.0, 0.0, 0.0)))
    assert np.array_equal(same, pixels)
    darker = distort(pixels, Distortion((("brightness", 0.5),), (0.0, 0.0, 0.0)))
    assert np.abs(darker - pixels / 2).max() <= 1
    redder = distort(pixels, Distortion((), (10 / 255, 0.0, 0.0)))
    assert np.array_equal(redder[..., 0], np.minimum(pixels[..., 0].astype(int) + 10, 255))
    assert np.array_equal(redder[..., 1:], pixels[..., 1:])
