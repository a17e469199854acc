"""A checkpoint is written from a copy while the training goes on."""

import errno
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.artefacts.run import Run
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.stages.prepare import prepare
from pipeline.stages.train import train
from pipeline.training import checkpointing
from pipeline.training.cadence import Step
from pipeline.training.learner import Learner
from pipeline.training.loader import Batch
from pipeline.training.snapshot import snapshot
from tests.stages.trained import final, rows

CPU = torch.device("cpu")


@pytest.fixture
def config(run_config: TrainConfig) -> TrainConfig:
    """12 steps, and saves after 4 and 8."""
    return run_config.but(
        checkpoint_every_steps=4, checkpoint_every_seconds=1e9, validate_every_epochs=100
    )


@pytest.fixture
def root(tmp_path: Path, data: PrepareConfig) -> Path:
    prepare(data, tmp_path, processes=1)
    return tmp_path


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps so far."""
    done: list[int] = []
    original = Learner.step

    def counted(self: Learner, step: Step, batch: Batch) -> torch.Tensor:
        losses = original(self, step, batch)
        done.append(step.number)
        return losses

    monkeypatch.setattr(Learner, "step", counted)
    return done


def test_steps_go_on_during_a_save(
    root: Path, config: TrainConfig, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each save begins two steps late, and holds the state of its own step."""
    train(config, root)
    expected = final(config, root), rows(config, root)
    shutil.rmtree(root / config.folder)
    steps.clear()
    original, events = Run.save_checkpoint, []

    def late(self: Run, step: int, state: Mapping[str, Any], error: float | None = None) -> None:
        for _ in range(1000):
            if steps[-1] >= step + 2:
                break
            threading.Event().wait(0.01)
        events.append((step, steps[-1] >= step + 2))
        original(self, step, state, error)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "save_checkpoint", late)
        patched.setattr(Run, "finish", lambda *_: None)
        train(config, root)
    assert events == [(4, True), (8, True)]
    steps.clear()
    train(config, root)
    assert steps == [9, 10, 11, 12]
    assert (final(config, root), rows(config, root)) == expected


def test_a_failed_save_ends_the_training(
    root: Path, config: TrainConfig, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the latest before the next one; what was saved before stays."""
    original = Run.save_checkpoint

    def full(self: Run, step: int, state: Mapping[str, Any], error: float | None = None) -> None:
        if step == 8:
            raise OSError(errno.ENOSPC, "No space left on device", "state.pt")
        original(self, step, state, error)

    monkeypatch.setattr(Run, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space left on device"):
        train(config, root)
    assert 8 <= steps[-1] <= 12
    newest = Run(config, root).checkpoints.newest()
    assert newest is not None
    assert newest.name == "step_00000004"
    assert not (root / config.folder / "run.json").exists()
    assert [each.name for each in threading.enumerate() if "checkpoint" in each.name] == []


def test_there_is_one_copy_at_most(
    root: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save waits for the one before it."""
    events: list[str] = []
    original = Run.save_checkpoint

    def taken(state: Any, device: torch.device) -> Any:
        events.append("copy")
        return snapshot(state, device)

    def slow(self: Run, step: int, state: Mapping[str, Any], error: float | None = None) -> None:
        threading.Event().wait(0.2)
        original(self, step, state, error)
        events.append("saved")

    monkeypatch.setattr(checkpointing, "snapshot", taken)
    monkeypatch.setattr(Run, "save_checkpoint", slow)
    train(config.but(checkpoint_every_steps=2), root)
    assert events == ["copy", "saved"] * 5


def test_a_copy_stays_as_it_was() -> None:
    weight = torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last)
    state: dict[str, Any] = {
        "learner": {"weight": weight, "groups": [{"lr": 0.1}]},
        "losses": [weight[0, 0]],
    }
    taken, is_taken = snapshot(state, CPU)
    weight.zero_()
    state["losses"].append(weight)
    is_taken()
    assert taken["learner"]["weight"].eq(1).all()
    assert taken["learner"]["weight"].stride() == weight.stride()
    assert [each.tolist() for each in taken["losses"]] == [[[1.0] * 4] * 4]
    assert taken["learner"]["groups"] == [{"lr": 0.1}]
