"""A clock that jumps decides nothing: no number, no failure, no wait."""

import ast
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.artefacts import sealing
from pipeline.artefacts.metrics import read_metrics
from pipeline.configs.experiment import load_study
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from slurm import nodes, queue
from slurm.status import status
from tests.commands import TOP, Finished, contents, going_deeper
from tests.faults import shims

HOUR = 3600
# where the time of day may be asked, and what for
ASKED = {
    "pipeline/artefacts/provenance.py": "a label of an artefact",
    "pipeline/stages/progress.py": "a label of the page of a study in progress",
    "pipeline/tools/index.py": "a label of the page of all studies",
    "slurm/ledger.py": "a label of a submitted job",
    "slurm/nodes.py": "a name, and whether a node failed within a week",
    "slurm/probe.py": "clocks of nodes beside each other, and words",
}


def times_of_day(path: Path) -> Iterator[str]:
    """Yield each look at the time of day in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in ("time.time", "time.time_ns", "datetime.now", "datetime.utcnow"):
                yield name


def test_few_files_ask_for_the_time_of_day() -> None:
    """Whoever adds one says what for, and that it decides nothing."""
    asking = {
        path.relative_to(TOP).as_posix()
        for room in ("pipeline", "slurm")
        for path in (TOP / room).rglob("*.py")
        if list(times_of_day(path))
    }
    assert asking == set(ASKED)


def jump(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + seconds)


@pytest.mark.parametrize("hours", [-1, 1])
def test_failures_of_nodes_count_over_a_jump(
    hours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "down", lambda names: list(names))
    for name in ("train-1", "train-2"):
        nodes.note_start(tmp_path, name, 0, ["a"])
        nodes.blame(tmp_path, name, 1)
        jump(monkeypatch, hours * HOUR)
    assert nodes.failing(tmp_path) == ["a"]


def test_a_status_does_not_know_the_time(
    finished: Finished, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = finished.copy(tmp_path)
    for sealed in root.glob("*/*/*.json"):
        if sealed.name in ("run.json", "predictions.json"):
            sealed.unlink()  # as if all were in progress
    now = status(study, root)
    for hours in (-1, 1):
        jump(monkeypatch, hours * HOUR)
        assert status(study, root) == now


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.processes
def test_a_study_under_a_jumping_clock_is_the_same(finished: Finished, tmp_path: Path) -> None:
    """In all processes every other look is an hour ahead, the others an hour behind."""
    library, root = shims.build(tmp_path), tmp_path / "root"
    ended = going_deeper(
        *("run", finished.experiment, "--data", finished.data, "--root", root, "--processes", 4),
        environment=shims.variables(library, clock=HOUR),
    )
    assert ended.returncode == 0, ended.stderr
    assert contents(root) == contents(finished.root)
    assert "-" not in ended.stderr.rsplit("stages done in ", 1)[1]
    made = load_study(finished.experiment, ["--data", str(finished.data)])
    for run in made.stages:
        if not isinstance(run, TrainConfig):
            continue
        rows = read_metrics(run, root)
        assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
        seconds = [row["seconds"] for row in rows if "seconds" in row]
        assert seconds == sorted(seconds)
        assert 0 <= seconds[0] <= seconds[-1] < HOUR
        assert 0 < sealing.RUN.unseal(run, root).core_or_gpu_hours < 1
    assert going_deeper("recount", finished.experiment, "--root", root).returncode == 0
