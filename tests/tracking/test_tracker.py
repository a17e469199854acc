"""W&B mirrors the files, offline by default, and never fails a stage. The wandb process
is the real one.
"""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import wandb

from pipeline.artefacts import sealing
from pipeline.configs.prepare import PrepareConfig
from pipeline.tracking.sync import offline_runs
from pipeline.tracking.tracker import Tracker
from tests.commands import TOP


def test_offline_run_holds_the_rows(
    tmp_path: Path, data: PrepareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_RUN_GROUP", "a-study")
    monkeypatch.setenv("WANDB_API_KEY", "c0ffee" * 7)
    with Tracker(data, tmp_path) as tracker:
        tracker.log({"trainer/step": 1, "loss": 0.125})
        sealing.seal(data, tmp_path, [], {})
        tracker.conclude({"top1_error": 0.5})
    (written,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + 30  # wandb's process writes a moment after it says so
    while b"top1_error" not in (content := written.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert written.name == f"run-{data.hash}.wandb"
    for expected in (b"a-study", b"prepare", b"loss", b"0.125", b"top1_error"):
        assert expected in content
    assert not [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and b"c0ffee" * 2 in path.read_bytes()
    ]


def test_a_dead_tracker_fails_nothing(
    tmp_path: Path,
    data: PrepareConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)

    def dead(*_: object, **__: object) -> None:
        raise ConnectionResetError("gone")

    with Tracker(data, tmp_path) as tracker:
        monkeypatch.setattr(wandb.Run, "log", dead)
        tracker.log({"loss": 1.0})
        tracker.log({"loss": 2.0})
    assert (
        capsys.readouterr().err.count("W&B is off for this stage (ConnectionResetError: gone)") == 1
    )


def test_disabled_writes_nothing(
    tmp_path: Path, data: PrepareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with Tracker(data, tmp_path) as tracker:
        tracker.log({"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


NESTED = """
import os, subprocess, sys
from pathlib import Path
from pipeline.tracking.tracker import Tracker
from pipeline.configs.prepare import PrepareConfig
with Tracker(PrepareConfig.model_validate_json(sys.argv[1]), Path(sys.argv[2])) as tracker:
    tracker.log({"loss": 1.0})
    if len(sys.argv) > 3:
        assert "WANDB_SERVICE" in os.environ
        command = [sys.executable, "-c", sys.argv[3], sys.argv[1], sys.argv[2] + "/there"]
        subprocess.run(command, check=True)
"""


@pytest.mark.processes
def test_another_process_is_no_rival(
    tmp_path: Path, data: PrepareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process tracks, with its service named in the environment, a child can
    track too: it may be long dead.
    """
    monkeypatch.delenv("WANDB_MODE", raising=False)
    command = [sys.executable, "-c", NESTED, data.model_dump_json(), str(tmp_path), NESTED]
    ended = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (len(offline_runs(tmp_path)), len(offline_runs(tmp_path / "there"))) == (1, 1)


def test_what_is_made_first_is_uploaded_first(tmp_path: Path) -> None:
    """Also within a second, by the order of the stages."""
    for number, room, name in (
        (26, "results", "0000"),
        (26, "predictions", "ffff"),
        (25, "verdicts", "eeee"),
    ):
        folder = tmp_path / "wandb" / f"offline-run-202611{number}_000000-{name}"
        folder.mkdir(parents=True)
        (folder / f"run-{name}.wandb").touch()
        (tmp_path / room / name).mkdir(parents=True)
    assert [run.run_id for run in offline_runs(tmp_path)] == ["eeee", "ffff", "0000"]
