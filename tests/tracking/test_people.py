"""What W&B's server is told of an attempt that a signal ends, and of a study's end; the
client is wandb's own. An agent of a W&B sweep is refused by name.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.configs.experiment import load_study
from pipeline.configs.prepare import PrepareConfig
from pipeline.tracking import page as pages
from pipeline.tracking.alert import ASKED, alert, alerts
from pipeline.tracking.tracker import Tracker
from slurm.job import Attempt
from slurm.ledger import Order, conclusion, order_name
from tests.commands import TOP, going_deeper, in_process
from tests.wandb_stub import WandbStub

pytestmark = pytest.mark.processes
DATA = PrepareConfig(source="imagefolder", name="colours")
ENDED = """
import os, signal, sys
from pathlib import Path
from pipeline.configs.prepare import PrepareConfig
from pipeline.runtime.signals import end_noted
from pipeline.tracking.tracker import Tracker
config, root = PrepareConfig(source="imagefolder", name="colours"), Path(sys.argv[1])
with Tracker(config, root) as tracker, end_noted(saves=True) as notice:
    if sys.argv[2] == "error":
        raise ValueError("an error of ours")
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
    tracker.preempt()
    notice.obey()
"""


def ended_by(how: str, root: Path, mode: str) -> int:
    command = [sys.executable, "-c", ENDED, str(root), how]
    environment = {**os.environ, "WANDB_MODE": mode}
    return subprocess.run(command, cwd=TOP, env=environment, check=False, timeout=120).returncode


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize(("how", "code"), [("SIGTERM", 143), ("SIGUSR2", 140), ("error", 1)])
def test_an_attempt_that_a_signal_ends_is_preempting(
    server: WandbStub, tmp_path: Path, how: str, code: int, mode: str
) -> None:
    """The server knows how it ended, too. An error is a failure."""
    assert ended_by(how, tmp_path, mode) == code
    if mode == "offline":
        assert server.runs == {}
        assert going_deeper("sync", "--root", tmp_path).returncode == 0
    (run,) = server.runs.values()
    assert (run.exit_code, run.is_preempting) == (1, how != "error")


def test_the_next_attempt_is_not_preempted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(SystemExit), Tracker(DATA, tmp_path):
        raise SystemExit(143)
    assert pages.read(pages.path_of(DATA, tmp_path)).preempted
    with pytest.raises(ValueError, match="ours"), Tracker(DATA, tmp_path):
        raise ValueError("a mistake of ours")
    assert not pages.read(pages.path_of(DATA, tmp_path)).preempted


ALERTS = """
import sys
from pathlib import Path
from pipeline.configs.experiment import load_study
from pipeline.errors import StageFailed
from pipeline.tracking.alert import alerts
with alerts(load_study("demo"), Path(sys.argv[1])):
    if sys.argv[2]:
        raise StageFailed(sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["", "the disk is full"])
def test_a_study_sends_an_alert_if_asked(server: WandbStub, tmp_path: Path, problem: str) -> None:
    command = [sys.executable, "-c", ALERTS, str(tmp_path), problem]
    for asked in ("0", "1"):
        subprocess.run(command, cwd=TOP, env={**os.environ, ASKED: asked}, check=False, timeout=120)
        assert len(server.alerts) == int(asked)
    (sent,) = server.alerts
    assert (sent["title"], sent["severity"]) == (
        ("demo has failed", "ERROR") if problem else ("demo is done", "INFO")
    )
    assert (problem or "reports/demo-") in sent["text"]


@pytest.mark.parametrize(
    ("name", "value"), [("WANDB_MODE", "offline"), ("WANDB_BASE_URL", "http://127.0.0.1:9")]
)
def test_an_alert_that_cannot_be_sent_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv(name, value)
    monkeypatch.setenv(ASKED, "1")
    study = load_study("demo")
    with alerts(study, tmp_path):
        pass
    alert(study, tmp_path, "a problem")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("no W&B alert (") and value in line for line in lines)


@pytest.mark.parametrize("name", ["WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH"])
@pytest.mark.parametrize("command", ["run demo", "plan demo", "sync"])
def test_a_sweep_agent_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv(name, "x")
    ended = in_process(*command.split(), "--root", tmp_path)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1)
    assert f"{name} is set" in ended.stderr
    assert "going-deeper sweep" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_sync_and_plan_print_one_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = json.loads(in_process("plan", "demo", "--json", "--root", tmp_path).stdout)
    assert list(planned) == ["study", "title", "stages", "notes"]
    study = load_study("demo")
    assert [Path(line["folder"]) for line in planned["stages"]] == [
        tmp_path / config.folder for config in study.stages
    ]
    assert {line["state"] for line in planned["stages"]} == {"missing"}
    synced = in_process("sync", "--json", "--root", tmp_path)
    assert json.loads(synced.stdout) == {"uploaded": [], "pending": []}
    monkeypatch.setenv("WANDB_MODE", "offline")
    with Tracker(DATA, tmp_path):
        pass
    pages.path_of(DATA, tmp_path).write_text("{")
    synced = in_process("sync", "--json", "--root", tmp_path)
    assert (synced.returncode, len(synced.stderr.splitlines())) == (3, 1)
    (pending,) = json.loads(synced.stdout)["pending"]
    assert "is damaged" in pending["reason"]


def test_the_last_job_of_a_study_alerts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job of a single stage does not, nor an attempt that another follows."""
    monkeypatch.setenv("WANDB_MODE", "offline")  # so a line says that there would be one
    monkeypatch.setenv(ASKED, "1")
    study = load_study("demo")
    content = study.model_dump(mode="json")
    last = Attempt.of(Order(name=conclusion(study), kind="conclude", content=content), tmp_path)
    train = study.trained_member(0)
    content = train.model_dump(mode="json")
    stage = Attempt.of(Order(name=order_name(train), kind="train", content=content), tmp_path)
    stage.say("failed", "failure", "a problem")
    last.say("retried", "passing", "a problem")
    assert "alert" not in capsys.readouterr().err
    last.say("failed", "failure", "a problem")
    assert "no W&B alert" in capsys.readouterr().err
