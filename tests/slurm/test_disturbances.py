"""Time limits, dead nodes and lost nodes on a real SLURM cluster change no bit of a
study.

Slow: SLURM takes half a minute to see a time limit or to miss a node, and a requeued
job waits for ten seconds. So the studies are disturbed beside one another, and the
first test waits for most of it.
"""

import json
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from slurm import processes
from slurm.cluster import Cluster
from tests.slurm.submitted import Submitted, complete, until, write_site

SLOW_STEPS = Path(__file__).parent / "slow_steps"
pytestmark = pytest.mark.slow


class Long(Submitted):
    """A study of one member. The steps of its jobs are slow until `hurry`, so that a
    test has time to disturb them.
    """

    def __init__(self, cluster: Cluster, folder: Path, data: Path):
        self._slow = folder / "slow"
        self.dawdle()
        environment = {"PYTHONPATH": str(SLOW_STEPS), "SLOW_STEPS_FILE": str(self._slow)}
        options = ("--members", 1, "--epochs", 40, "--width", 0.25)
        super().__init__(cluster, folder, data, *options, environment=environment)

    def dawdle(self) -> None:
        self._slow.touch()

    def hurry(self) -> None:
        self._slow.unlink()


def power_off(cluster: Cluster, node: str) -> None:
    """Send SIGKILL to a node's slurmd, its steps and their processes."""
    for pid in cluster.process_ids(node):
        processes.send(pid, signal.SIGKILL)


def run_here(study: Long) -> None:
    """Run the study on one rank, undisturbed, at full speed."""
    study.hurry()
    process = study.command("run", "--processes", 1)
    assert process.returncode == 0, process.stderr


def pause_twice(study: Long) -> None:
    """Let the training reach its time limit twice."""
    write_site(study.folder, minutes=1, delay=40)
    assert study.submit().returncode == 0
    until(lambda: study.log("train").count("SIGUSR2: saved after step") >= 2)
    study.hurry()


def kill_nodes(study: Long) -> None:
    """A node dies in mid-training, another in mid-evaluation."""
    write_site(study.folder, array=2)
    assert study.submit().returncode == 0
    until(lambda: list(study.root.glob("runs/*/checkpoints/step_*")))
    (node,) = study.nodes("train")
    power_off(study.cluster, node)
    until(lambda: "resumes at step" in study.log("train"))
    study.cluster.start_node(node)
    study.hurry()
    until(lambda: list(study.root.glob("runs/*/run.json")))
    study.dawdle()
    until(lambda: list(study.root.glob("predictions/*/chunks/*/*")))
    node = study.nodes("part")[0]
    power_off(study.cluster, node)
    study.hurry()
    study.wait()
    study.cluster.start_node(node)


def lose_node(study: Long) -> None:
    """slurmd dies in mid-training, its job does not."""
    assert study.submit().returncode == 0
    until(lambda: list(study.root.glob("runs/*/checkpoints/step_*")))
    (node,) = study.nodes("train")
    processes.send(study.cluster.daemons()[f"slurmd-{node}"], signal.SIGKILL)
    until(lambda: "resumes at step" in study.log("train"))
    study.hurry()
    study.wait()
    study.cluster.start_node(node)


def ended(what: Callable[[Long], None], study: Long) -> Long:
    what(study)
    study.wait()
    return study


Studies = dict[Callable[[Long], None], Future[Long]]


@pytest.fixture(scope="module")
def studies(
    cluster: Cluster, image_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studies]:
    """The same study in roots of its own, all at once, by the disturbance of it."""
    kinds = (run_here, pause_twice, kill_nodes, lose_node)
    long_studies = {
        what: Long(cluster, tmp_path_factory.mktemp(what.__name__), image_folder) for what in kinds
    }
    with ThreadPoolExecutor() as beside:
        yield {what: beside.submit(ended, what, study) for what, study in long_studies.items()}


@pytest.fixture
def undisturbed(studies: Studies) -> dict[Path, str]:
    return studies[run_here].result().contents()


def test_a_time_limit_is_a_pause(studies: Studies, undisturbed: dict[Path, str]) -> None:
    """A training that reaches its limit twice: saved, requeued, and in the end the same
    bits as one that never did.
    """
    study = studies[pause_twice].result()
    table = study.wait()
    assert complete(table) == 4, table
    log = study.log("train")
    assert log.count("SIGUSR2: saved after step") >= 2, log
    saved, resumed = (
        re.findall(pattern, log)
        for pattern in (r"SIGUSR2: saved after step (\d+)", r"resumes at step (\d+) of")
    )
    # on a loaded machine some attempts end without that line in the log
    assert set(saved) <= set(resumed), log
    assert study.contents() == undisturbed != {}


def test_dead_nodes_lose_nothing(
    cluster: Cluster, studies: Studies, undisturbed: dict[Path, str]
) -> None:
    """A node dies in mid-training, another in mid-evaluation: SLURM requeues, the run
    resumes, every image counts once.
    """
    study = studies[kill_nodes].result()
    table = study.wait()
    assert complete(table) == 4, table
    assert json.loads(next(study.root.glob("runs/*/run.json")).read_text())["attempts"] >= 2
    blamed = {path.name.rsplit(".", 3)[0] for path in (study.root / "jobs/nodes").glob("*.failure")}
    assert set() < blamed <= set(cluster.names)
    assert study.contents() == undisturbed != {}


def test_a_lost_node_that_lives_on_does_no_harm(
    studies: Studies, undisturbed: dict[Path, str]
) -> None:
    """slurmd dies, its job does not: SLURM runs the job again beside it. The older
    attempt is fenced off; the same bits.
    """
    study = studies[lose_node].result()
    table = study.wait()
    assert complete(table) == 4, table
    assert json.loads(next(study.root.glob("runs/*/run.json")).read_text())["attempts"] >= 2
    assert study.contents() == undisturbed != {}
