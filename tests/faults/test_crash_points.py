"""Every writer dies at each operation on files, or has a full disk from there on: who
does its work again ends with the same bytes.

The shards, chunks, checkpoints and final weights are in tests/artefacts/.
"""

import secrets
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.configs.compare import Arm, CompareConfig
from pipeline.configs.experiment import load_study
from pipeline.configs.study import Study
from pipeline.runtime import native
from pipeline.stages import report, run_stage
from pipeline.tools import recount
from pipeline.tracking import page as pages
from slurm import ledger, nodes, snapshot
from tests.commands import Finished
from tests.crash_points import assert_no_trace
from tests.faults.campaign import amount

pytestmark = [pytest.mark.usefixtures("unsynced"), pytest.mark.processes, pytest.mark.slow]


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """No test here cuts the power, and no note tells of the time or of chance."""

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Stopped":
            return cls(2026, 1, 1, tzinfo=UTC)

    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    monkeypatch.setattr(ledger, "datetime", Stopped)
    monkeypatch.setattr(secrets, "token_hex", lambda size: "0" * 2 * size)


class Writer(NamedTuple):
    """`write(study, root)` writes into a finished study's root, without the rooms that
    it `makes`; or, where that is None, into an empty root.

    It has more than `at_least` points. CI tries every n-th, the whole campaign more.
    """

    write: Callable[[Study, Path], object]
    makes: tuple[str, ...] | None
    at_least: int
    every: int
    whole: int = 1


def question(study: Study) -> CompareConfig:
    first, second = study.check.results[-1].members
    arms = (Arm(name="first", members=(first,)), Arm(name="second", members=(second,)))
    return CompareConfig(question="Which?", arms=arms)


def track(study: Study, root: Path) -> None:
    for config in study.stages[-3:]:
        page = pages.begin(config, root).write(root, sent=3)
        page.write(root, figures={"top1_error": 0.5})


def submit(study: Study, root: Path) -> None:
    order = ledger.Order(name="conclude-a", kind="conclude", content=study.model_dump(mode="json"))
    ledger.write_order(root, order)
    ledger.record(root, order.name, "local", "1", 1, "code")
    nodes.note_start(root, order.name, 0, ["a"])
    nodes.note_pause(root, order.name, 0)
    ledger.write_outcome(root, order.name, ledger.Outcome(state="done"))


def build(_: Study, root: Path) -> None:
    native._build("pipeline.images", "area.cpp", native.compiler() or [], root / "cache")


WRITERS = {
    "a result": Writer(
        lambda study, root: run_stage(study.check.results[-1], root), ("results",), 30, 12, 2
    ),
    "a comparison": Writer(lambda study, root: run_stage(question(study), root), (), 20, 7, 2),
    "verdicts": Writer(lambda study, root: run_stage(study.check, root), ("verdicts",), 20, 20, 2),
    "a report and its tables": Writer(run_stage, ("reports",), 100, 60, 3),
    "published files": Writer(
        lambda study, root: recount.publish(study, root, root / "published"), (), 100, 60, 3
    ),
    "W&B's pages": Writer(track, None, 40, 10),
    "jobs/": Writer(submit, None, 30, 10),
    "a copy of the code": Writer(lambda _, root: snapshot.snapshot(root), None, 300, 100, 5),
    "a native build": Writer(build, None, 8, 3),
}
COMPILER = """#!/bin/sh
while [ "$1" != -o ]; do shift; done
cat > "$2"
"""


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    writer = WRITERS[name]
    study = load_study(finished.experiment, ["--data", str(finished.data)])
    prepared = tmp_path / "root"
    if writer.makes is None:
        prepared.mkdir()
    else:
        finished.copy(tmp_path)
        for room in writer.makes:
            shutil.rmtree(prepared / room)
    compiler = tmp_path / "compiler"  # its own files are out of the root
    compiler.write_text(COMPILER)
    compiler.chmod(0o700)
    monkeypatch.setenv("CXX", str(compiler))
    if writer.write is run_stage:  # it is drawn once: its writes are what dies
        drawn = report._page(study, prepared)
        monkeypatch.setattr(report, "_page", lambda config, root: drawn)
        monkeypatch.setattr("pipeline.reporting.charts.png", str.encode)
    assert_no_trace(
        tmp_path,
        prepared,
        lambda root: writer.write(study, root),
        writer.at_least,
        every=amount(writer.every, writer.whole),
    )
