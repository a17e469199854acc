"""What a user reads of jobs that ended: why, what to change, and what they used."""

import json
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from pipeline.configs.study import Study
from pipeline.errors import InputError
from slurm import ledger, pace, queue
from slurm.launch import launch
from slurm.ledger import Outcome, order_name
from slurm.site import Site
from slurm.status import status
from slurm.table import Row, as_json, table
from slurm.use import Meter, Use
from tests.slurm.stand_in import StandIn


@pytest.mark.parametrize(
    ("state", "hint"),
    [
        ("TIMEOUT", "TIMEOUT: it reached its time limit: more timeout_min in the site file"),
        ("OUT_OF_MEMORY", "OUT_OF_MEMORY: it had too little memory: more mem_gb in the site file"),
        ("NODE_FAIL", "NODE_FAIL: its node failed: run again; exclude keeps a node out"),
        ("FAILED", "FAILED"),
    ],
)
def test_a_job_that_ended_without_a_word(
    state: str, hint: str, tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, root = StandIn(tmp_path / "bin", monkeypatch), tmp_path / "root"
    launch(study, study.stages, root, Site(cluster="slurm"))
    site.end("1", state)
    assert status(study, root)[0].note == f"ended without a word: {hint}"
    word = "srun: fatal: SLURM_MEM_PER_CPU and SLURM_MEM_PER_NODE are mutually exclusive."
    (root / "jobs/1_0_log.err").write_text(f"something\n{word}\n\n")
    row = status(study, root)[0]
    assert row.note == f"ended without a word: {hint}; its log ends: {word}"
    assert f"log: {root}/jobs/1_0_log.err" in table(status(study, root))
    assert json.loads(as_json([row])) == [row._asdict()]


def test_fields_of_the_json_are_stable() -> None:
    assert Row._fields == (
        *("stage", "name", "state", "job", "node", "progress", "left", "note", "log"),
        "use",
    )


def test_the_use_is_in_the_note_of_a_job_and_in_its_row(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, root = StandIn(tmp_path / "bin", monkeypatch), tmp_path / "root"
    launch(study, study.stages, root, Site(cluster="slurm"))
    site.end("1", "FAILED")
    use = Use(seconds=100, cores=1.2, cores_asked=8, gigabytes=2, gigabytes_asked=32)
    ledger.write_outcome(
        root, order_name(study.stages[0]), Outcome(state="failed", message="no", use=use)
    )
    row = status(study, root)[0]
    assert (row.state, row.note) == ("failed", "no")
    assert row.use == (
        "used 1.2 of 8 cores, at most 2.0 of 32 GB; fewer cpus_per_task would do; less mem_gb"
        " would do"
    )


@pytest.mark.parametrize(
    ("changes", "hints"),
    [
        ({}, ["fewer cpus_per_task would do", "less mem_gb would do"]),
        ({"seconds": 59}, []),  # too short to tell
        ({"cores": 2}, ["less mem_gb would do"]),
        ({"gigabytes": 8}, ["fewer cpus_per_task would do"]),
        ({"cores_asked": 0, "gigabytes_asked": 0}, []),  # SLURM did not say
        ({"cores": 0.1, "cores_asked": 1, "gigabytes_asked": 8}, []),  # nobody has less
    ],
)
def test_hints(changes: dict[str, float], hints: list[str]) -> None:
    far = Use(seconds=60, cores=1.9, cores_asked=8, gigabytes=7.9, gigabytes_asked=32)
    assert list(far.but(**changes).hints()) == hints


def test_a_meter_counts_this_process_and_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "2048")
    meter = Meter()
    script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; sleep 60"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        use = meter.read()  # while it lives
        child.kill()
    assert use.cores * use.seconds > 0.05
    assert (use.cores_asked, use.gigabytes_asked) == (4, 8.0)
    assert 0.01 < use.gigabytes < 64


def test_a_wait_for_one_job_bears_a_silent_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[dict[str, queue.Queued] | None] = iter(
        [{"1": queue.Queued("a", "PENDING")}, None, {"1": queue.Queued("a", "COMPLETED")}]
    )

    def jobs(*_: object) -> dict[str, queue.Queued]:
        if (answer := next(answers)) is None:
            raise InputError("squeue: Unable to contact slurm controller")
        return answer

    monkeypatch.setattr(queue, "jobs", jobs)
    slept: list[float] = []
    queue.wait_for("1", pace.pauses(), slept.append)
    assert slept == list(islice(pace.pauses(), 2))
