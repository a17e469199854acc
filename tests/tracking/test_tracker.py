"""W&B mirrors the files, offline by default, and never fails a stage. The wandb process
is the real one.
"""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import wandb

from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.network import NetworkConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.sources.ilsvrc import MD5
from pipeline.stages.comparable import Comparability, as_the_papers, of_images
from pipeline.tracking import page as pages
from pipeline.tracking.mirror import Mirror
from pipeline.tracking.tracker import Tracker
from tests.commands import TOP
from tests.wandb_stub import API_KEY, WandbStub


def test_offline_only_the_page_is_written(
    tmp_path: Path, data: PrepareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_RUN_GROUP", "a-study")
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    with Tracker(data, tmp_path) as tracker:
        tracker.table("confusions", [{"truth": "a", "count": 3}])
        tracker.conclude({"top1_error": 0.5})
    path = pages.path_of(data, tmp_path)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]
    page = pages.read(path)
    assert (page.config.hash, page.group) == (data.hash, "a-study")
    assert (page.figures, page.tables) == (
        {"top1_error": 0.5},
        {"confusions": [{"truth": "a", "count": 3}]},
    )
    assert API_KEY not in path.read_text()


def test_racing_processes_get_one_id(tmp_path: Path, data: PrepareConfig) -> None:
    with ThreadPoolExecutor(8) as pool:
        begun = list(pool.map(lambda _: pages.begin(data, tmp_path), range(32)))
    assert len({page.run_id for page in begun}) == 1
    assert begun[0].run_id.startswith(f"{data.hash}-")


def test_disabled_writes_nothing(
    tmp_path: Path, data: PrepareConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with Tracker(data, tmp_path) as tracker:
        tracker.conclude({"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_a_dead_tracker_fails_nothing(
    server: WandbStub,
    tmp_path: Path,
    data: PrepareConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The page still holds all that the tracker was told."""
    monkeypatch.setenv("WANDB_MODE", "online")

    def dead(*_: object, **__: object) -> None:
        raise ConnectionResetError("gone")

    with Tracker(data, tmp_path) as tracker:
        monkeypatch.setattr(Mirror, "send", dead)
        tracker.send(1)
        tracker.send(2)
        tracker.conclude({"top1_error": 0.5})
    assert capsys.readouterr().err.count("W&B is off for this stage (ConnectionResetError") == 1
    assert pages.read(pages.path_of(data, tmp_path)).figures == {"top1_error": 0.5}
    wandb.finish(exit_code=1)
    wandb.teardown()


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
with Tracker(PrepareConfig(source="imagefolder", name="colours"), Path(sys.argv[1])) as tracker:
    os.kill(service(), getattr(signal, sys.argv[2]))
    time.sleep(0.5)
    tracker.conclude({"num_rejected": 3})
"""


@pytest.mark.slow
@pytest.mark.parametrize("signal_sent", ["SIGTERM", "SIGKILL"])
def test_a_dead_wandb_process_is_one_line(
    server: WandbStub, tmp_path: Path, signal_sent: str
) -> None:
    """scancel may reach wandb's own process before ours; the stage goes on."""
    assert hasattr(signal, signal_sent)
    command = [sys.executable, "-c", FAULTY, str(tmp_path), signal_sent]
    environment = {**os.environ, "WANDB_MODE": "online"}
    ended = subprocess.run(
        command, cwd=TOP, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("W&B is off for this stage") == 1


def test_what_is_made_first_is_uploaded_first(tmp_path: Path) -> None:
    for room in ("results", "verdicts", "predictions"):
        (tmp_path / room / "0000").mkdir(parents=True)
        (tmp_path / room / "0000" / pages.FILE).touch()
    order = [path.parts[-3] for path in pages.pages(tmp_path)]
    assert order == ["predictions", "results", "verdicts"]


def test_only_the_papers_has_a_gap(data: PrepareConfig) -> None:
    """A published number is shown beside a result only where the verdicts judge it."""
    run = TrainConfig(data=data, num_epochs=1)
    member = EvaluateConfig(data=data, classifier=run)
    narrow = member.but(classifier=run.but(network=NetworkConfig(width=0.5)))
    ours = of_images("colours", {}, ["a"], np.array([0]), ["red"])
    papers = of_images("colours", MD5, ["a"], np.array([0]), ["red"])
    seen, other = Comparability("", "seen"), Comparability("trained on colours", "")
    assert not as_the_papers([member], papers, seen).obstacle
    assert "has a network of width 0.5" in as_the_papers([narrow], papers, seen).obstacle
    assert "colours has 1 images of 1 classes" in as_the_papers([member], ours, seen).obstacle
    assert as_the_papers([member], papers, other).obstacle == "trained on colours"
