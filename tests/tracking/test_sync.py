"""going-deeper sync: offline runs of W&B reach a server, each row once, and no secret
stays behind.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.artefacts import locks
from pipeline.artefacts.result import Result
from pipeline.configs.experiment import load_study
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.recipes import arm_of
from tests.commands import TOP, going_deeper
from tests.wandb_stub import API_KEY, WandbStub

pytestmark = pytest.mark.processes
TRACK = """
import os, sys, signal
from pathlib import Path
from pipeline.tracking.tracker import Tracker
from pipeline.artefacts import locks, sealing
from pipeline.configs.prepare import PrepareConfig
root, first, last, ends = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
config = PrepareConfig(source="imagefolder", name="colours")
with Tracker(config, root) as tracker:
    for step in range(first, last):
        tracker.log({"trainer/step": step, "loss": 1.0 / (1 + step)})
    if ends != "well":
        import time; time.sleep(2.5 if ends == "killed" else 600)
        os.kill(os.getpid(), signal.SIGKILL)
    sealing.seal(config, root, [], {})
    tracker.conclude({"num_rejected": 3})
"""
CONFIG = PrepareConfig(source="imagefolder", name="colours")


def track(root: Path, first: int, last: int, ends: str = "well", **environment: str) -> int:
    """A process that tracks rows `first` to `last`; returns its exit code."""
    command = [sys.executable, "-c", TRACK, str(root), str(first), str(last), ends]
    tracked = {"WANDB_RUN_GROUP": "study", **environment}
    return subprocess.run(command, cwd=TOP, env={**os.environ, **tracked}, check=False).returncode


@pytest.mark.slow
def test_segments_of_a_killed_run_become_one(server: WandbStub, tmp_path: Path) -> None:
    """Killed without a word, and gone on with; a server that fails at first; then
    nothing is left to do.
    """
    assert track(tmp_path, 0, 5, "killed") == -signal.SIGKILL
    assert track(tmp_path, 5, 8) == 0
    server.faults += [("UpsertBucket", 500), ("file_stream", 500)]
    ended = going_deeper("sync", "--root", tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == "2 uploaded, 0 pending"
    assert server.faults == []
    run = server.runs[CONFIG.hash]
    assert [row["trainer/step"] for row in run.history] == list(range(8))
    assert (run.fields["groupName"], run.fields["jobType"]) == ("study", "prepare")
    assert run.config["name"] == "colours"
    assert run.summary["num_rejected"] == 3
    assert going_deeper("sync", "--root", tmp_path).stdout == "0 uploaded, 0 pending\n"
    assert not (TOP / "wandb").exists()
    assert [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and API_KEY.encode() in path.read_bytes()
    ] == []


@pytest.mark.slow
def test_a_study_reaches_the_server_with_its_lineage(
    server: WandbStub, experiment: Path, image_folder: Path, tmp_path: Path
) -> None:
    """Every artefact is a run and one of W&B's artifacts, used by what was made from
    it; tables and pictures come along.
    """
    root = tmp_path / "root"
    arguments = ["--data", str(image_folder), "--members", "1"]
    assert going_deeper("run", experiment, *arguments, "--root", root).returncode == 0
    ended = going_deeper("sync", "--root", root)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    study = load_study(experiment, arguments)
    for config in study.stages[:-1]:  # all but the report
        run, artifact = server.runs[config.hash], server.artifacts[f"{config.stage}-{config.hash}"]
        assert (run.exit_code, artifact.state, artifact.metadata["hash"]) == (
            0,
            "COMMITTED",
            config.hash,
        )
        assert artifact.given["runName"] == config.hash
        assert artifact.users == {
            other.hash for other in study.stages[:-1] if config in other.inputs
        }
        assert run.config["arm"] == arm_of(config) != ("" if config.stage != "prepare" else None)
        stored = server.stored[f"{artifact.id}/{config.last_file}"]
        assert stored == (root / config.folder / config.last_file).read_bytes()
    result = study.check.results[-1]
    assert {"top1_error", "published_top5_error", "gap_to_published"} <= server.runs[
        result.hash
    ].summary.keys()
    training = next(config for config in study.stages if config.stage == "train")
    history = server.runs[training.hash].history
    last = history[-1]
    assert last["gap_to_published"] == pytest.approx(last["val_top5_error_averaged"] - 0.1007)
    assert {"memory_gb", "images_per_second", "learning_rate"} <= set().union(*history)
    tables = [name for name in server.artifacts if name.startswith(f"run-{result.hash}-")]
    assert {name.rpartition("-")[2] for name in tables} <= {"worst_mistakes", "confusions"}
    assert len(tables) == (2 if Result(result, root).facts["top1_error"] else 0)


@pytest.mark.slow
def test_a_requeued_run_online_doubles_no_row(server: WandbStub, tmp_path: Path) -> None:
    """The first attempt is killed once the server has its rows."""
    command = [sys.executable, "-c", TRACK, str(tmp_path), "0", "4", "waits"]
    first = subprocess.Popen(command, cwd=TOP, env={**os.environ, "WANDB_MODE": "online"})
    run = server.runs[CONFIG.hash]
    while len(run.history) < 4:
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.wait()
    assert track(tmp_path, 4, 6, WANDB_MODE="online") == 0
    assert [row["trainer/step"] for row in run.history] == list(range(6))
    assert run.exit_code == 0
    assert [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and API_KEY.encode() in path.read_bytes()
    ] == []


@pytest.mark.slow
def test_what_cannot_be_uploaded_stays(
    server: WandbStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key; a run in progress. Both are said, and uploaded later."""
    assert track(tmp_path, 0, 2) == 0
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
    ended = going_deeper("sync", "--root", tmp_path)
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (3, "0 uploaded, 1 pending")
    assert "unauthorized" in ended.stdout
    assert (
        ended.stderr
        == "going-deeper: 1 runs are not on the server yet; run going-deeper sync again\n"
    )
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    assert going_deeper("sync", "--root", tmp_path).returncode == 0


FAULTY = """
import os, sys, signal, time
from pathlib import Path
from pipeline.tracking.tracker import Tracker
from pipeline.configs.prepare import PrepareConfig
def service():
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"wandb-core" in (path / "cmdline").read_bytes():
                return int(path.name)
        except OSError: pass
took = []
with Tracker(PrepareConfig(source="imagefolder", name="colours"), Path(sys.argv[1])) as tracker:
    for step in range(200):
        if step == 100 and sys.argv[2] != "none":
            os.kill(service(), getattr(signal, sys.argv[2]))
            time.sleep(0.5)
        started = time.monotonic()
        tracker.log({"trainer/step": step, "loss": 1.0})
        took.append(time.monotonic() - started)
print(sum(took) / len(took), max(took))
"""


@pytest.mark.slow
@pytest.mark.parametrize("signal_sent", ["SIGTERM", "SIGKILL"])
def test_a_dead_wandb_process_is_one_line(tmp_path: Path, signal_sent: str) -> None:
    """As when scancel reaches wandb's own process before ours: the stage goes on."""
    command = [sys.executable, "-c", FAULTY, str(tmp_path), signal_sent]
    environment = {**os.environ, "WANDB_MODE": "offline"}
    ended = subprocess.run(
        command, cwd=TOP, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("W&B is off for this stage") == 1


@pytest.mark.slow
def test_a_slow_server_does_not_slow_the_rows(server: WandbStub, tmp_path: Path) -> None:
    """Every answer takes a second; rows are handed over at once, and reach it."""
    server.delay = 1.0
    command = [sys.executable, "-c", FAULTY, str(tmp_path), "none"]
    environment = {**os.environ, "WANDB_MODE": "online"}
    ended = subprocess.run(
        command, cwd=TOP, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    mean, _ = map(float, ended.stdout.split()[-2:])
    assert mean < server.delay / 10
    assert [row["trainer/step"] for row in server.runs[CONFIG.hash].history] == list(range(200))
