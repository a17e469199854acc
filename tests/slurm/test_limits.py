"""Limits on the number of jobs are met with grace; the controller is asked little."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.configs.study import Study
from pipeline.errors import InputError
from slurm import answers, ledger, pace, status
from slurm import launch as launching
from slurm.cluster import Cluster
from slurm.launch import launch
from slurm.ledger import Order, Outcome, order_name
from slurm.resources import Resources
from slurm.sbatch import Sbatch, SubmitLimit
from slurm.site import Site
from slurm.submission import Submission
from tests.slurm.conftest import running_cluster
from tests.slurm.stand_in import FULL, REFUSAL, StandIn

SHARED = Resources(array=10)
SITE = Site(cluster="slurm", prepare=SHARED, evaluate=SHARED)


@pytest.fixture(scope="module")
def small() -> Iterator[Cluster]:
    with running_cluster(2, "MaxArraySize=5\nMaxJobCount=12") as cluster:
        yield cluster


def test_an_array_is_as_large_as_the_controller_allows(
    small: Cluster, tmp_path: Path, study: Study
) -> None:
    (tmp_path / "jobs").mkdir()
    submission = Submission(tmp_path, SITE, tmp_path, python="true")
    config = study.stages[0]
    order = Order(
        name=f"part-{config.hash}",
        kind="prepare",
        content=config.model_dump(mode="json"),
        num_parts=10,
    )
    (job_id,) = submission.add_array(order, SHARED, after=())
    shown = small.run("squeue", "--states=all", "--array", "--noheader", f"--jobs={job_id}")
    assert len(shown.stdout.splitlines()) == 5
    entry = ledger.find(tmp_path, order.name)
    assert entry is not None
    assert entry.num_parts == 5
    assert ledger.read_order(tmp_path / "jobs" / f"{order.name}.order.json").num_parts == 5


def test_a_full_queue_is_an_answer_at_once(small: Cluster, tmp_path: Path) -> None:
    """The real sbatch would try again for two minutes."""
    script, start = tmp_path / "job.sh", time.monotonic()

    def submit(count: int) -> None:
        for _ in range(count):
            script.write_text("#!/bin/sh\n#SBATCH --hold --output=/dev/null\ntrue\n")
            Sbatch(["sbatch", str(script)], verbose=False, kept=(), answers=[])()

    def held() -> list[str]:
        answer = small.run("squeue", "--noheader", "--states=PENDING", "--format=%i %r")
        return [line for line in answer.stdout.splitlines() if line.endswith("JobHeldUser")]

    with pytest.raises(SubmitLimit, match="the queue is full"):
        submit(20)
    assert time.monotonic() - start < 30
    assert not script.exists()
    taken = held()
    assert 0 < len(taken) < 20
    time.sleep(3)  # sbatch would sleep for one
    assert held() == taken
    small.run("scancel", "--state=PENDING", "--me")


@pytest.mark.parametrize(("refusal", "patience"), [(REFUSAL, 0), (FULL, 60)])
def test_jobs_follow_in_waves(
    tmp_path: Path,
    study: Study,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    refusal: str,
    patience: float,
) -> None:
    """Three jobs at most: the study's nine orders come in, one after another, arrays
    shrink, no order comes twice, and nothing waits for sbatch's own retries.
    """
    site = StandIn(tmp_path / "bin", monkeypatch, 3, 5, refusal, patience)
    root = tmp_path / "root"
    delays: list[float] = []

    def pass_time(seconds: float) -> None:
        delays.append(seconds)
        job_id, name = next(iter(site.alive().items()))
        site.end(job_id)
        number = f".{job_id.partition('_')[2]}" if "_" in job_id else ""
        ledger.write_outcome(root, f"{name}{number}", Outcome(state="done"))

    monkeypatch.setattr(launching, "time", SimpleNamespace(sleep=pass_time))
    start = time.monotonic()
    launch(study, study.stages, root, SITE)
    assert time.monotonic() - start < 60
    names = site.names()
    orders = [*(order_name(config) for config in study.stages if config.has_job)]
    orders.append(ledger.conclusion(study))
    assert sorted(name for name in names if not name.startswith("part-")) == sorted(orders)
    assert names.count(f"part-{study.stages[0].hash}") == 2
    said = capsys.readouterr().err
    assert said.count("this command submits the rest as jobs end") == 1
    assert set(delays) == {pace.FIRST}  # as each time a job came in
    left = [path.name for path in (root / "jobs").glob("*.pkl") if "submitted" not in path.name]
    assert left == []
    scripts = (root / "jobs").glob(".submission_file*")  # submitit leaves links to those taken
    assert [path for path in scripts if not path.is_symlink()] == []


def test_a_failed_source_is_not_tried_again_in_a_later_wave(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = StandIn(tmp_path / "bin", monkeypatch, most=1)

    def pass_time(_: float) -> None:
        (job_id,) = site.alive()
        site.end(job_id)  # without a word

    monkeypatch.setattr(launching, "time", SimpleNamespace(sleep=pass_time))
    launch(study, study.stages, tmp_path / "root", SITE)
    names = site.names()
    assert sorted(names) == sorted([order_name(study.stages[0]), ledger.conclusion(study)])


def test_a_site_that_takes_no_job_at_all_is_an_error(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a job needs an account: SLURM calls that a submit limit, too."""
    StandIn(tmp_path / "bin", monkeypatch, most=0)
    with pytest.raises(InputError, match="it takes no job of ours"):
        launch(study, study.stages, tmp_path / "root", SITE)


def test_a_wait_asks_little(tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes without news: one squeue each time, less and less often, and
    accounting once for a job that the queue forgot.
    """
    site = StandIn(tmp_path / "bin", monkeypatch)
    root = tmp_path / "root"
    launch(study, study.stages, root, Site(cluster="slurm"))
    (site.folder / "jobs/1").unlink()
    (site.folder / "requests").unlink()
    clock = 0.0

    def pass_time(seconds: float) -> None:
        nonlocal clock
        clock += seconds
        if clock > 600:
            raise KeyboardInterrupt

    monkeypatch.setattr(status, "time", SimpleNamespace(sleep=pass_time))
    with pytest.raises(KeyboardInterrupt):
        status.wait(study, root)
    assert site.requests() == {"squeue": 22, "sacct": 1}


def test_jobs_on_another_cluster_are_looked_for_there(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, root = StandIn(tmp_path / "bin", monkeypatch), tmp_path / "root"
    there = Site(cluster="slurm", clusters="alpha,beta")
    launch(study, study.stages, root, there)
    names = site.names()
    assert len(names) == 6
    launch(study, study.stages, root, there)
    assert site.names() == names  # none has a second job
    assert {row.state for row in status.status(study, root)} == {"queued"}
    answers.cancel(ledger.entries(study, root))
    assert site.names() == []
