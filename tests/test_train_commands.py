"""Training as a user runs it: ended by a signal, under torchrun, and by find-rate."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import TOP, Finished, contents, in_process

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(
    ("number", "ranks", "send"), [(signal.SIGTERM, 1, os.killpg), (signal.SIGUSR2, 2, os.kill)]
)
def test_asked_to_end_it_saves_first(
    experiment: Path,
    image_folder: Path,
    tmp_path: Path,
    number: signal.Signals,
    ranks: int,
    send: Callable[[int, int], None],
) -> None:
    """The ranks save after the current step, whether the signal reaches the command
    alone or all its processes, loaders too.
    """
    command = [
        "run",
        experiment,
        "--data",
        image_folder,
        "--root",
        tmp_path / "root",
        "--processes",
        ranks,
        "--epochs",
        4000,
        "--members",
        1,
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *map(str, command)],
        cwd=TOP,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("root/runs/*/checkpoints/step_*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    send(process.pid, number)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 143, messages
    (step,) = re.findall(rf"train \w+: {number.name}: saved after step (\d+)", messages)
    assert (
        messages.strip().splitlines()[-1]
        == f"going-deeper: {number.name}: the ranks have ended, with nothing half-done; the same"
        " command goes on from here"
    )
    assert "Traceback" not in messages
    newest = max(tmp_path.glob("root/runs/*/checkpoints/step_*"))
    assert newest.name == f"step_{int(step):08d}"


@pytest.mark.slow  # torchrun's ranks are Pythons of their own
def test_under_torchrun_the_same_bytes(finished: Finished, tmp_path: Path) -> None:
    """Two ranks of torchrun and two of our own make the same artefacts, and print one
    table.
    """
    torchrun = [
        Path(sys.executable).parent / "torchrun",
        "--nproc-per-node",
        2,
        "--master-port",
        29511,
        "-m",
        "pipeline",
    ]
    command = [*torchrun, "run", finished.experiment, "--data", finished.data, "--root", tmp_path]
    under = subprocess.run(
        [*map(str, command)],
        cwd=TOP,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert under.returncode == 0, under.stderr
    assert under.stdout.count("Table 3") == finished.said.stdout.count("Table 3")
    assert under.stderr.count("stages done in") == 1
    assert contents(tmp_path) == contents(finished.root) != {}


def test_find_rate(experiment: Path, image_folder: Path, tmp_path: Path) -> None:
    command = ("find-rate", experiment, "--data", image_folder, "--root", tmp_path / "root")
    process = in_process(*command, "--steps", 40, "--json")
    assert process.returncode == 0, process.stderr
    facts = json.loads(process.stdout)
    assert len(facts["rates"]) == len(facts["losses"]) <= 40
    assert facts["rates"][0] == 1e-5
    assert facts["suggested"] > 0
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == ["datasets", "locks"]
    wrong = in_process(*command, "--member", 7)
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "going-deeper: --member 7: the study has members 0 to 1\n",
    )
