"""A training that was killed ends with the same bits as one that was not."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch

from pipeline.artefacts import locks, sealing
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.run import Run, Weights
from pipeline.configs import recipes
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.optimizer import LocalSGDConfig
from pipeline.configs.patches import PatchConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.paper import googlenet
from pipeline.paper.inception import INCEPTIONS
from pipeline.reporting.model_card import model_card
from pipeline.runtime import ranks
from pipeline.stages.evaluate import evaluate
from pipeline.stages.train import train
from pipeline.tools.find_rate import find_rate
from tests.forks import fork
from tests.sealed import MACHINE
from tests.stages import trained
from tests.stages.trained import final


def losses(config: TrainConfig, root: Path) -> list[float]:
    return [row["loss"] for row in Run(config, root).metrics() if "loss" in row]


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, prepared: Path, run_config: TrainConfig
) -> Path:
    """The root of a run on two ranks that nothing interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed") / "root"
    shutil.copytree(prepared, folder)
    trained.run(2, run_config, folder)
    return folder


def test_a_run_is_whole(run_config: TrainConfig, undisturbed: Path) -> None:
    folder = undisturbed / run_config.folder
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    sealed = json.loads((folder / "run.json").read_text())
    assert sealed["steps"] == 12
    assert sealed["world_size"] == 2
    assert [row["epoch"] for row in rows if "val_top5_error_averaged" in row] == [
        1.0,
        2.0,
        3.0,
        4.0,
    ]
    weights = final(run_config, undisturbed)
    assert weights.keys() == {"model.safetensors", "raw.safetensors", "best.safetensors"}
    assert weights["model.safetensors"] != weights["raw.safetensors"]
    assert not (folder / "checkpoints").exists()
    (row,) = [row for row in rows if "loss" in row]  # 12 steps are one window
    assert row["loss"] == pytest.approx(
        row["loss_main"] + 0.3 * (row["loss_4a"] + row["loss_4d"]), abs=1e-6
    )
    assert row["memory_gb"] > 0.05
    assert 0 <= row["data_wait"] <= 1
    card = (folder / "final/README.md").read_text()
    error = sealed["validation"]["top1_error_averaged"]
    assert f"| 1 | {100 * error:.2f} % |" in card
    assert f"after step {sealed['best_step']}," in card


@pytest.mark.processes
def test_a_run_says_on_what_its_earlier_attempts_ran(root: Path, run_config: TrainConfig) -> None:
    """Hardware that differs from that of the last attempt is named, each once. The
    model card names a GPU.
    """
    hardware = {"name": "A100", "driver": "535"}
    for _ in range(2):
        Run(run_config, root).claim(MACHINE.model_copy(update={"hardware": hardware}), "")
    sealed = json.loads((train(run_config, root).folder / "run.json").read_text())
    (earlier,) = sealed["elsewhere"]
    assert earlier["hardware"] == hardware
    assert earlier["environment"] == sealed["provenance"]["environment"]
    assert earlier["versions"] == sealed["provenance"]["versions"]
    run = sealing.RUN.unseal(run_config, root)
    on_a_gpu = run.model_copy(update={"hardware": hardware})
    data = Dataset(run_config.data, root)
    card = model_card(run_config, "raw", data, on_a_gpu, run.provenance, {})
    assert "GPU-hours on A100, " in card
    assert "A100" not in (root / run_config.folder / "final" / "README.md").read_text()


def test_best_weights_are_those_of_the_lowest_error(root: Path, run_config: TrainConfig) -> None:
    """The best step's checkpoint outlives newer ones; its average is kept beside the
    final one.
    """
    config = run_config.but(validate_every_epochs=1 / 3, num_epochs=10, clip_norm=1.0)
    train(config, root)
    errors = {
        row["step"]: row["val_top1_error_averaged"]
        for row in Run(config, root).metrics()
        if "val_top1_error_raw" in row
    }
    sealed = json.loads((root / config.folder / "run.json").read_text())
    assert sealed["best_step"] == min(errors, key=lambda step: (errors[step], step))
    assert sealed["best_step"] < 27  # older than the last two checkpoints
    assert len(errors) == 30
    run = Run(config, root)
    images = EvaluateConfig(data=config.data, classifier=config, policies=("crops_1",))
    measured = {}
    for kind in get_args(Weights):
        assert run.weights(kind).keys() == run.weights("raw").keys()
        evaluate(images.but(weights=kind), root)
        scores = Predictions(images.but(weights=kind), root).probabilities("crops_1")
        measured[kind] = float(
            (scores.argmax(1) != Dataset(config.data, root).split("val").labels).mean()
        )
    assert measured["best"] == errors[sealed["best_step"]]
    assert measured["averaged"] == errors[30]


@pytest.mark.slow  # four launches of two ranks
def test_killed_runs_end_with_the_same_bits(
    root: Path, run_config: TrainConfig, undisturbed: Path
) -> None:
    """SIGKILL to the parent of both ranks as soon as another checkpoint is there, again
    and again.
    """
    seen: set[str] = set()
    for _ in range(3):
        process = fork(ranks.launch, train, 2, run_config, root)
        deadline = time.monotonic() + 60
        while process.is_alive() and time.monotonic() < deadline:
            kept = {path.name for path in (root / run_config.folder / "checkpoints").glob("step_*")}
            if kept - seen:
                seen |= kept
                os.kill(process.pid or 0, signal.SIGKILL)
                break
            time.sleep(0.002)
        process.join()
        _wait_for_orphans(root, run_config)
    assert seen
    ranks.launch(train, 2, run_config, root)
    assert final(run_config, root) == final(run_config, undisturbed)
    steps = [(row["step"], "loss" in row) for row in Run(run_config, root).metrics()]
    assert len(steps) == len(set(steps))


def _wait_for_orphans(root: Path, config: TrainConfig) -> None:
    """Ranks end with their parent; until then the run's lock is held."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with locks.lock(config, root):
                return
        except InputError:
            time.sleep(0.05)
    raise AssertionError("the ranks outlived their parent")


def test_damaged_checkpoint_is_passed_over(
    root: Path,
    run_config: TrainConfig,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = run_config
    train(config, root)
    expected = final(config, root)
    shutil.rmtree(root / config.folder)
    monkeypatch.setattr(Run, "finish", lambda *_: None)
    train(config, root)
    checkpoints = sorted((root / config.folder / "checkpoints").glob("step_*"))
    # the best, the last two
    assert [path.name for path in checkpoints] == [
        "step_00000006",
        "step_00000010",
        "step_00000011",
    ]
    state = checkpoints[-1] / "state.pt"
    state.write_bytes(state.read_bytes()[:-1])
    monkeypatch.undo()
    capsys.readouterr()
    train(config, root)
    messages = capsys.readouterr().err
    assert f"{checkpoints[-1]}: checkpoint is damaged" in messages
    assert "resumes at step 10 of 12" in messages
    assert final(config, root) == expected


@pytest.mark.slow  # four trainings of up to four ranks
@pytest.mark.parametrize("optimizer", ["sgd", "lars"])
def test_world_sizes_and_accumulation_agree(
    root: Path, run_config: TrainConfig, optimizer: str
) -> None:
    """50 steps, the same images in the same steps: whether on 1 rank, on 2, or in
    parts, only the order of the sums differs.

    The seed matters: with others, a rounding may grow beyond the bound in so many
        steps.
    """
    network = run_config.network.but(aux_heads=(), dropout=0.0)
    config = run_config.but(
        data_seed=3, network=network, num_epochs=50 / 3, clip_norm=1.0, optimizer=optimizer
    )
    config = config.but(checkpoint_every_seconds=1e9, validate_every_epochs=100)
    weights, means = [], []
    for world_size, fits in ((1, None), (2, None), (1, 3), (2, 3)):
        trained.run(world_size, config.but(max_device_batch_size=fits), root)
        weights.append(Run(config, root).weights("raw"))
        means.append(losses(config, root))
        shutil.rmtree(root / config.folder)
    for others in weights[1:]:
        for name, tensor in weights[0].items():
            torch.testing.assert_close(others[name], tensor, rtol=0, atol=1e-5)
    assert all(each == pytest.approx(means[0], abs=1e-5) for each in means)


@pytest.mark.processes
def test_local_sgd_averages_the_workers(root: Path, run_config: TrainConfig) -> None:
    """With an average at every step and no momentum, two workers are one: a mean of
    steps is the step of the mean.
    """
    network = run_config.network.but(aux_heads=(), dropout=0.0)
    config = run_config.but(network=network, momentum=0.0)
    together = config.but(local_sgd=LocalSGDConfig(workers=2, steps=1))
    apart = config.but(local_sgd=LocalSGDConfig(workers=2, steps=3))
    for each in (config, together, apart):
        trained.run(2, each, root)
    weights = [Run(each, root).weights("averaged") for each in (config, together, apart)]
    moved = [
        max(float((weights[0][name] - other[name]).abs().max()) for name in other)
        for other in weights[1:]
    ]
    assert moved[0] < 1e-6
    assert moved[1] > 1e-4
    with pytest.raises(InputError, match=r"local_sgd\.workers 2 is not the number of ranks, 1"):
        train(config.but(local_sgd=LocalSGDConfig(workers=2, steps=2)), root)


@pytest.mark.slow  # a compiler builds each step twice: forward and backward
def test_compiled_steps_are_the_same_but_for_rounding(
    root: Path, run_config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of one module in place of nine has each kind of layer too. Resumed, it
    ends with the same bits.
    """
    monkeypatch.setattr(googlenet, "INCEPTIONS", {"3b": INCEPTIONS["3b"]})
    config = run_config.but(network=run_config.network.but(aux_heads=(), dropout=0.0))
    compiled = config.but(compiled=True)
    for each in (config, compiled):
        train(each, root)
    eager, fused = (Run(each, root).weights("raw") for each in (config, compiled))
    # tensors: a stem of three convolutions, a module of six, the classifier
    assert len(eager) == 20
    for name, tensor in eager.items():
        torch.testing.assert_close(fused[name], tensor, rtol=0, atol=1e-4)
    expected = final(compiled, root)
    shutil.rmtree(root / compiled.folder)
    with monkeypatch.context() as patched:
        patched.setattr(Run, "finish", lambda *_: None)
        train(compiled, root)
    train(compiled, root)
    assert json.loads((root / compiled.folder / "run.json").read_text())["attempts"] == 2
    assert final(compiled, root) == expected


def test_distortions_on_the_device_train_alike(root: Path, run_config: TrainConfig) -> None:
    """The draws are the same; only the rounding differs."""
    config = run_config.but(photometric=True, num_epochs=1)
    on_device = config.but(patches=PatchConfig(distort_on="device"))
    for each in (config, on_device):
        train(each, root)
    first, second = losses(config, root), losses(on_device, root)
    assert first != second
    assert first == pytest.approx(second, rel=1e-2)


def test_a_rate_is_found(root: Path, run_config: TrainConfig) -> None:
    """The loss falls on the way, and the end is divergence."""
    config = run_config
    test = find_rate(config, root, num_rates=20, num_batches=3)
    assert test.diverged_at is not None
    assert test.suggested is not None
    assert 1e-4 < test.suggested < test.diverged_at < 10
    assert (
        f"diverges at {test.diverged_at:.2g}; a learning_rate to try: {test.suggested:.2g}"
        in test.text()
    )
    assert json.loads(test.as_json())["rates"] == test.rates
    assert not (root / config.folder).exists()


def test_it_learns(root: Path, run_config: TrainConfig) -> None:
    config = run_config.but(num_epochs=40, clip_norm=1.0, warmup_epochs=5)
    config = config.but(checkpoint_every_seconds=60.0, validate_every_epochs=40)
    train(config, root)
    rows = [row for row in Run(config, root).metrics() if "val_top1_error_raw" in row]
    assert rows[-1]["val_top1_error_raw"] <= 0.2


@pytest.mark.parametrize("recipe", [recipes.paper, recipes.caffe_quick])
def test_recipes_train(
    root: Path, data: PrepareConfig, run_config: TrainConfig, recipe: Callable[..., TrainConfig]
) -> None:
    """Each named recipe runs, on a very small network; so does equal-weight averaging
    from a later epoch.
    """
    config = recipe(data, num_epochs=2, network=run_config.network).but(
        averaging="equal", averaging_start_epoch=1
    )
    train(config, root)
    assert {"model.safetensors", "raw.safetensors", "best.safetensors"} == final(
        config, root
    ).keys()
    assert all(loss > 0 for loss in losses(config, root))
