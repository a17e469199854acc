"""After any kill, resume and sync the server's history is metrics.jsonl, row for row;
no secret stays behind. The client is wandb's own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.artefacts import locks
from pipeline.artefacts.metrics import read_metrics
from pipeline.artefacts.result import Result
from pipeline.configs.experiment import load_study
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.recipes import arm_of
from pipeline.configs.train import TrainConfig
from pipeline.tracking import page as pages
from tests.commands import TOP, going_deeper
from tests.wandb_stub import API_KEY, WandbStub

pytestmark = pytest.mark.processes
TRACK = """
import json, os, sys, signal, time
from pathlib import Path
from pipeline.tracking.tracker import Tracker
from pipeline.artefacts.run import Run
from pipeline.configs.train import TrainConfig
from tests.sealed import MACHINE, seal
from pipeline.configs.prepare import PrepareConfig
root, dies = Path(sys.argv[1]), sys.argv[2]
data = PrepareConfig(source="imagefolder", name="colours")
config = TrainConfig(data=data, num_epochs=1)
def die(where):
    if where == dies:
        time.sleep(float(sys.argv[3]))
        os.kill(os.getpid(), signal.SIGKILL)
if not data.is_complete(root):
    seal(data, root)
run = Run(config, root)
if config.is_complete(root):
    sys.exit()
newest = run.checkpoints.newest()
first = int(newest.name[5:]) if newest else 0
run.claim(MACHINE, "")
run.rewind_metrics(first)
with Tracker(config, root, step=first) as tracker:
    die("init")
    for step in range(first + 1, 13):
        run.log({"step": step, "loss": 1.0 / step, "seconds": time.time()})
        die(f"row {step}")
        if step % 4 == 0 and step < 12:
            run.save_checkpoint(step, {"step": step})
            die(f"saved {step}")
            tracker.send(step)
            die(f"sent {step}")
    tracker.conclude({"attempts": 3})
    die("concluded")
    seal(config, root)
    die("sealed")
"""
DATA = PrepareConfig(source="imagefolder", name="colours")
CONFIG = TrainConfig(data=DATA, num_epochs=1)
POINTS = ("init", "row 3", "saved 4", "sent 4", "row 6", "sent 8", "row 12", "concluded", "sealed")


def track(root: Path, dies: str = "-", mode: str = "offline", waits: float = 0) -> int:
    """Make an attempt at a training of 12 rows, with checkpoints after 4 and 8, and
    return its exit code.
    """
    command = [sys.executable, "-c", TRACK, str(root), dies, str(waits)]
    tracked = {"WANDB_RUN_GROUP": "study", "WANDB_MODE": mode}
    return subprocess.run(command, cwd=TOP, env={**os.environ, **tracked}, check=False).returncode


def rows_of(server: WandbStub, root: Path) -> list[dict[str, float]]:
    """Return the history on the server, without what W&B adds."""
    history = server.runs[pages.run_id(CONFIG, root) or ""].history
    assert [row["_step"] for row in history] == list(range(len(history)))
    return [
        {name.removeprefix("trainer/"): v for name, v in row.items() if name[0] != "_"}
        for row in history
    ]


def secrets_below(root: Path) -> list[Path]:
    return [
        path for path in root.rglob("*") if path.is_file() and API_KEY.encode() in path.read_bytes()
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "modes", ["online online", "offline offline", "online offline", "offline online"]
)
@pytest.mark.parametrize("dies", POINTS)
def test_history_is_metrics_row_for_row(
    server: WandbStub, tmp_path: Path, dies: str, modes: str
) -> None:
    """The training is killed at `dies`, resumed and synced; a sync in between changes
    nothing.
    """
    first, second = modes.split()
    assert track(tmp_path, dies, first) == -signal.SIGKILL
    identity = pages.run_id(CONFIG, tmp_path)
    if dies == "row 6":
        assert going_deeper("sync", "--root", tmp_path).returncode == 0
        assert len(rows_of(server, tmp_path)) == 4
    assert track(tmp_path, mode=second) == 0
    ended = going_deeper("sync", "--root", tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert rows_of(server, tmp_path) == read_metrics(CONFIG, tmp_path)
    assert [row["step"] for row in rows_of(server, tmp_path)] == list(range(1, 13))
    run = server.runs[identity or ""]
    assert (list(server.runs), run.exit_code, run.summary["attempts"]) == ([identity], 0, 3)
    assert (run.fields["groupName"], run.fields["jobType"]) == ("study", "train")
    assert going_deeper("sync", "--root", tmp_path).stdout == "0 uploaded, 0 pending\n"
    assert secrets_below(tmp_path) == []


@pytest.mark.slow
def test_other_roots_are_other_runs(server: WandbStub, tmp_path: Path) -> None:
    """A fresh start in the same root is another run too."""
    for root in ("a", "b"):
        assert track(tmp_path / root, mode="online") == 0
    (tmp_path / "b" / CONFIG.folder).rename(tmp_path / "old")
    assert track(tmp_path / "b", mode="online") == 0
    assert [len(run.history) for run in server.runs.values()] == [12, 12, 12]


@pytest.mark.slow
def test_rows_taken_back_from_the_server_are_in_another_run(
    server: WandbStub, tmp_path: Path
) -> None:
    """The newest checkpoint is damaged, so the training resumes from the one before."""
    assert track(tmp_path, "sent 8", "online", 2) == -signal.SIGKILL
    before = pages.run_id(CONFIG, tmp_path)
    (tmp_path / CONFIG.folder / "checkpoints" / "step_00000008" / "state.pt").write_bytes(b"")
    assert track(tmp_path, mode="online") == 0
    assert pages.run_id(CONFIG, tmp_path) != before
    assert rows_of(server, tmp_path) == read_metrics(CONFIG, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("status", [409, 410])
@pytest.mark.parametrize("command", ["sync", "train"])
def test_a_deleted_run_costs_seconds(
    server: WandbStub, tmp_path: Path, status: int, command: str
) -> None:
    """The whole run is on the server again. The folder keeps its new id."""
    assert track(tmp_path, "sent 8", "online", 2) == -signal.SIGKILL
    before = pages.run_id(CONFIG, tmp_path) or ""
    server.delete(before, status)
    assert track(tmp_path, mode="online" if command == "train" else "offline") == 0
    started = time.monotonic()
    assert going_deeper("sync", "--root", tmp_path).returncode == 0
    assert time.monotonic() - started < 40
    assert pages.run_id(CONFIG, tmp_path) != before
    assert rows_of(server, tmp_path) == read_metrics(CONFIG, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("status", [409, 410])
def test_a_run_deleted_under_way_comes_again(
    server: WandbStub, tmp_path: Path, status: int
) -> None:
    """The client drops what the server refuses, and the run does not count as
    delivered.
    """
    assert track(tmp_path, mode="online") == 0
    (path,) = pages.pages(tmp_path)
    server.delete(pages.read(path).run_id, status)
    pages.read(path).write(tmp_path, delivered=None)
    assert going_deeper("sync", "--root", tmp_path).returncode == 0
    server.runs.clear()
    page = pages.read(path).renewed(tmp_path)
    server.faults += [("file_stream", status)] * 9
    ended = going_deeper("sync", "--root", tmp_path)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (3, "0 uploaded, 1 pending")
    assert not page.is_delivered(tmp_path)
    server.faults.clear()
    assert going_deeper("sync", "--root", tmp_path).returncode == 0
    assert rows_of(server, tmp_path) == read_metrics(CONFIG, tmp_path)


@pytest.mark.slow
def test_a_study_reaches_the_server_with_its_lineage(
    server: WandbStub, experiment: Path, image_folder: Path, tmp_path: Path
) -> None:
    """Every artefact is a run and one of W&B's artifacts, used by what was made from
    it; tables and pictures come along. There is no gap to what cannot be compared.
    """
    root = tmp_path / "root"
    arguments = ["--data", str(image_folder), "--members", "1"]
    assert going_deeper("run", experiment, *arguments, "--root", root).returncode == 0
    server.faults += [("UpsertBucket", 500), ("file_stream", 500)]
    ended = going_deeper("sync", "--root", root)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert server.faults == []
    study = load_study(experiment, arguments)
    ids = {config.hash: pages.run_id(config, root) or "" for config in study.stages[:-1]}
    assert set(server.runs) == set(ids.values())
    for config in study.stages[:-1]:  # all but the report
        artifact = server.artifacts[f"{config.stage}-{config.hash}"]
        run = server.runs[ids[config.hash]]
        assert (run.exit_code, artifact.state, artifact.metadata["hash"]) == (
            0,
            "COMMITTED",
            config.hash,
        )
        assert artifact.given["runName"] == ids[config.hash]
        assert artifact.users == {
            ids[other.hash] for other in study.stages[:-1] if config in other.inputs
        }
        assert run.config["arm"] == arm_of(config) != ("" if config.stage != "prepare" else None)
        stored = server.stored[f"{artifact.id}/{config.last_file}"]
        assert stored == (root / config.folder / config.last_file).read_bytes()
        assert "gap_to_published" not in json.dumps([run.summary, run.history])
    result = study.check.results[-1]
    assert {"top1_error", "num_models"} <= server.runs[ids[result.hash]].summary.keys()
    training = next(config for config in study.stages if isinstance(config, TrainConfig))
    history = server.runs[ids[training.hash]].history
    assert len(history) == len(read_metrics(training, root))
    assert {"memory_gb", "images_per_second", "learning_rate"} <= set().union(*history)
    tables = [name for name in server.artifacts if name.startswith(f"run-{ids[result.hash]}-")]
    assert {name.rpartition("-")[2] for name in tables} <= {"worst_mistakes", "confusions"}
    assert len(tables) == (2 if Result(result, root).facts.top1_error else 0)


@pytest.mark.slow
def test_what_cannot_be_uploaded_stays(
    server: WandbStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a wrong key, or a run is in progress. Both are named, and uploaded
    later.
    """
    assert track(tmp_path) == 0
    with locks.lock(CONFIG, tmp_path):
        ended = going_deeper("sync", "--root", tmp_path)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (3, "0 uploaded, 1 pending")
    assert f"pending: process {os.getpid()} on " in ended.stdout
    address = os.environ["WANDB_BASE_URL"]
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert (
        going_deeper("sync", "--root", tmp_path).stderr
        == "going-deeper: 1 runs are pending, and http://127.0.0.1:9 does not answer; set"
        " WANDB_BASE_URL\n"
    )
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    before = pages.run_id(CONFIG, tmp_path)
    ended = going_deeper("sync", "--root", tmp_path)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (3, "0 uploaded, 1 pending")
    assert "unauthorized" in ended.stdout
    assert pages.run_id(CONFIG, tmp_path) == before
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    assert going_deeper("sync", "--root", tmp_path).returncode == 0
