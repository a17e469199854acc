"""W&B mirrors the files, offline by default, and never fails a stage. The wandb process is the real one."""

from pathlib import Path

import pytest
import wandb

from pipeline.adapters.tracking import Tracker
from pipeline.artefacts import storage
from pipeline.study import PrepareConfig


def test_offline_run_holds_the_rows(tmp_path: Path, data: PrepareConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_RUN_GROUP", "a-study")
    monkeypatch.setenv("WANDB_API_KEY", "c0ffee" * 7)
    with Tracker(data, tmp_path) as tracker:
        tracker.log({"trainer/step": 1, "loss": 0.125})
        storage.seal(data, tmp_path, [], {})
        tracker.conclude({"top1_error": 0.5})
    (written,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content = written.read_bytes()
    assert written.name == f"run-{data.hash}.wandb"
    for expected in (b"a-study", b"prepare", b"loss", b"0.125", b"top1_error"):
        assert expected in content
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"c0ffee" * 2 in path.read_bytes()]


def test_a_dead_tracker_fails_nothing(
    tmp_path: Path, data: PrepareConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)

    def dead(*_: object, **__: object) -> None:
        raise ConnectionResetError("gone")

    with Tracker(data, tmp_path) as tracker:
        monkeypatch.setattr(wandb.Run, "log", dead)
        tracker.log({"loss": 1.0})
        tracker.log({"loss": 2.0})
    assert capsys.readouterr().err.count("W&B is off for this stage (ConnectionResetError: gone)") == 1


def test_disabled_writes_nothing(tmp_path: Path, data: PrepareConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with Tracker(data, tmp_path) as tracker:
        tracker.log({"loss": 1.0})
    assert list(tmp_path.iterdir()) == []
