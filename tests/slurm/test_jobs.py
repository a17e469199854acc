"""Studies on a real SLURM cluster: one command, and nothing is lost whatever happens to jobs and nodes."""

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.experiment import load_study
from slurm.cluster import Cluster
from tests.commands import going_deeper
from tests.slurm.conftest import STUDY, write_site

PATTERNS = ("runs/*/final/*.safetensors", "predictions/*/*.safetensors", "results/*/hits.parquet")
pytestmark = pytest.mark.slow


def contents(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for pattern in PATTERNS for path in root.glob(pattern)}


def until(test: Callable[[], object], seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def submit(study_file: Path, data: Path, root: Path, site: Path, *more: object) -> "subprocess.CompletedProcess[str]":
    return going_deeper("run", study_file, "--data", data, "--root", root, "--site", site, *more)


def wait(study_file: Path, data: Path, root: Path, *more: object) -> str:
    found = going_deeper("status", study_file, "--data", data, "--root", root, "--watch", *more)
    assert found.returncode == 0, found.stderr
    return found.stdout


def nodes_of(cluster: Cluster, name: str) -> list[str]:
    """The nodes on which jobs run whose name begins so; a list of one is the node."""
    listed = cluster.run("squeue", "--noheader", "--states=RUNNING", "--format=%j %N").stdout.splitlines()
    return [node for line in listed for job, node in [line.split()] if job.startswith(name)]


def log_of(root: Path, name: str) -> str:
    entry = json.loads(next((root / "jobs").glob(f"{name}-*.job.json")).read_text())
    return "\n".join(path.read_text() for path in sorted((root / "jobs").glob(f"{entry['job_id']}_*_log.err")))


class Long(NamedTuple):
    """A study that is long enough for a node to be missed, and what it gives here, undisturbed."""

    options: tuple[object, ...]
    contents: dict[Path, bytes]


@pytest.fixture(scope="module")
def long(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Long:
    """On one rank; about a minute and a half on any machine, as a short run first tells how fast this one is."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "tiny.py").write_text(STUDY)

    def here(root: Path, epochs: int) -> tuple[object, ...]:
        options = ("--members", 1, "--epochs", epochs, "--width", 0.25)
        found = going_deeper("run", folder / "tiny.py", "--data", image_folder, "--root", root, "--processes", 1, *options)
        assert found.returncode == 0, found.stderr
        return options

    here(folder / "short", 40)
    seconds = json.loads(next(folder.glob("short/runs/*/run.json")).read_text())["seconds"]
    options = here(folder / "root", min(1000, max(200, round(90 * 40 / seconds))))
    return Long(options, contents(folder / "root"))


def test_one_command_from_data_to_verdict(cluster: Cluster, study_file: Path, image_folder: Path, tmp_path: Path) -> None:
    """Two members trained on two nodes each, evaluations as arrays of four: as here to the byte. Another command attaches."""
    root, here = tmp_path / "root", tmp_path / "here"
    site = write_site(tmp_path, nodes=2, array=4)
    first = submit(study_file, image_folder, root, site)
    assert first.returncode == 0, first.stderr
    again = submit(study_file, image_folder, root, site, "--wait")  # while the jobs of the first are queued or run
    assert again.returncode == 0, again.stderr
    submitted, found = (re.findall(r": job (\d+)", said) for said in (first.stderr, again.stderr))
    assert (
        len(submitted) == 9
    )  # the data set's array and what concludes it, trainings, two arrays, two that merge, a conclusion
    assert set(found) <= set(submitted)
    assert again.stderr.count("is there already") == len(found) >= 4
    assert "R6c" in again.stdout
    assert going_deeper("run", study_file, "--data", image_folder, "--root", here, "--processes", 2).returncode == 0
    assert contents(root) == contents(here) != {}
    table = wait(study_file, image_folder, root)
    assert len(re.findall(r"^(prepare|train|evaluate|conclude) .* complete ", table, re.MULTILINE)) == 6
    third = submit(study_file, image_folder, root, site)
    assert "nothing to do: all" in third.stdout
    run = json.loads(next(root.glob("runs/*/run.json")).read_text())
    assert run["world_size"] == 2
    assert run["provenance"]["code"] == next((root / "jobs/code").iterdir()).name


def test_a_time_limit_is_a_pause(
    cluster: Cluster, hurry: None, study_file: Path, image_folder: Path, tmp_path: Path, long: Long
) -> None:
    """A training that reaches its limit twice: saved, requeued, and in the end the same bits as one that never did."""
    root = tmp_path / "root"
    site = write_site(tmp_path, minutes=1, delay=40)
    assert submit(study_file, image_folder, root, site, *long.options).returncode == 0
    table = wait(study_file, image_folder, root, *long.options)
    assert len(re.findall(r"^(prepare|train|evaluate|conclude) .* complete ", table, re.MULTILINE)) == 4, table
    said = log_of(root, "train")
    assert said.count("SIGUSR2: saved after step") >= 2, said
    saved, resumed = (
        re.findall(pattern, said) for pattern in (r"SIGUSR2: saved after step (\d+)", r"resumes at step (\d+) of")
    )
    assert set(saved) <= set(resumed), said  # on a loaded machine some attempts end without that line in the log
    assert contents(root) == long.contents != {}


def test_dead_nodes_lose_nothing(
    cluster: Cluster, hurry: None, study_file: Path, image_folder: Path, tmp_path: Path, long: Long
) -> None:
    """A node dies in mid-training, another in mid-evaluation: SLURM requeues, the run resumes, every image counts once."""
    root = tmp_path / "root"
    site = write_site(tmp_path, array=2)
    assert submit(study_file, image_folder, root, site, *long.options).returncode == 0
    until(lambda: list(root.glob("runs/*/checkpoints/step_*")))
    (node,) = nodes_of(cluster, "train-")
    cluster.kill_node(node)
    until(lambda: list(root.glob("runs/*/run.json")))
    cluster.start_node(node)
    until(lambda: list(root.glob("predictions/*/chunks/*/*")))
    node = nodes_of(cluster, "part-")[0]
    cluster.kill_node(node)
    table = wait(study_file, image_folder, root, *long.options)
    cluster.start_node(node)
    assert len(re.findall(r"^(prepare|train|evaluate|conclude) .* complete ", table, re.MULTILINE)) == 4, table
    assert json.loads(next(root.glob("runs/*/run.json")).read_text())["attempts"] >= 2
    assert {path.name.rsplit(".", 3)[0] for path in (root / "jobs/nodes").glob("*.failure")} <= set(cluster.names)
    assert list((root / "jobs/nodes").glob("*.failure"))
    assert contents(root) == long.contents != {}


def test_a_lost_node_that_lives_on_does_no_harm(
    cluster: Cluster, hurry: None, study_file: Path, image_folder: Path, tmp_path: Path, long: Long
) -> None:
    """slurmd dies, its job does not: SLURM runs the job again beside it. The older attempt is fenced off; the same bits."""
    root = tmp_path / "root"
    site = write_site(tmp_path)
    assert submit(study_file, image_folder, root, site, *long.options).returncode == 0
    until(lambda: list(root.glob("runs/*/checkpoints/step_*")))
    (node,) = nodes_of(cluster, "train-")
    cluster.kill_daemon(node)
    table = wait(study_file, image_folder, root, *long.options)
    cluster.start_node(node)
    assert len(re.findall(r"^(prepare|train|evaluate|conclude) .* complete ", table, re.MULTILINE)) == 4, table
    assert contents(root) == long.contents != {}


def test_a_failing_member_takes_only_its_own_along(
    cluster: Cluster, study_file: Path, image_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    options = ("--rate", 1e9)
    found = submit(study_file, image_folder, root, write_site(tmp_path), "--wait", *options)
    assert found.returncode == 3
    assert found.stderr.strip().splitlines()[-1] == "going-deeper: tiny: not complete; see going-deeper status"
    table = wait(study_file, image_folder, root, *options)
    assert re.search(r"^train .* failed .* TrainingDiverged: .*lower learning_rate", table, re.MULTILINE), table
    assert re.search(r"^conclude .* failed .* no verdict, as these are missing: train \w+, evaluate \w+", table, re.MULTILINE)
    assert re.search(r"^evaluate .* failed .* not run, as train \w+ failed", table, re.MULTILINE), table
    assert len(list(root.glob("runs/*/run.json"))) == 1
    assert len(list(root.glob("predictions/*/predictions.json"))) == 1
    logs = re.findall(r"^    log: (.*)$", table, re.MULTILINE)
    assert any("lower learning_rate" in Path(path).read_text() for path in logs)
    shown = going_deeper("logs", study_file, "--data", image_folder, "--root", root, "--stage", "train", *options)
    assert "lower learning_rate" in shown.stdout


def test_what_a_site_does_not_take_is_one_line(cluster: Cluster, study_file: Path, image_folder: Path, tmp_path: Path) -> None:
    site = write_site(tmp_path)
    site.write_text(site.read_text().replace('"main"', '"nowhere"'))
    found = submit(study_file, image_folder, tmp_path / "root", site)
    assert found.returncode == 2
    assert re.search(r"^going-deeper: prepare-\w+: the site does not take the job: .*artition", found.stderr, re.MULTILINE)
    assert "Traceback" not in found.stderr


def test_a_passing_failure_is_tried_again_a_few_times(
    cluster: Cluster, hurry: None, study_file: Path, image_folder: Path, tmp_path: Path
) -> None:
    """A disk that fails at the first try: the job is requeued, counts its retries, and goes on."""
    root = tmp_path / "root"
    options = ("--members", 1)
    site = write_site(tmp_path)
    study = load_study(study_file, ["--data", str(image_folder), "--members", "1"])
    (training,) = [config for config in study.stages if config.stage == "train"]
    folder = root / training.folder
    folder.mkdir(parents=True)
    (folder / "attempts").touch()  # a file where the run wants a folder: an OSError
    assert submit(study_file, image_folder, root, site, *options).returncode == 0
    until(lambda: list((root / "jobs").glob("train-*.outcome.json")))
    outcome = json.loads(next((root / "jobs").glob("train-*.outcome.json")).read_text())
    assert (outcome["state"], outcome["kind"], outcome["retries"]) == ("retried", "passing", 1)
    (folder / "attempts").unlink()
    table = wait(study_file, image_folder, root, *options)
    assert len(re.findall(r"^(prepare|train|evaluate|conclude) .* complete ", table, re.MULTILINE)) == 4, table


def test_cancel_ends_the_jobs_and_leaves_what_is_whole(
    cluster: Cluster, study_file: Path, image_folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    options = ("--members", 1, "--epochs", 4000)
    assert submit(study_file, image_folder, root, write_site(tmp_path), *options).returncode == 0
    until(lambda: list(root.glob("runs/*/checkpoints/step_*")))
    ended = going_deeper("cancel", study_file, "--data", image_folder, "--root", root, *options)
    assert ended.stdout.startswith("cancelled: "), ended.stderr
    table = wait(study_file, image_folder, root, *options)
    assert re.search(r"^prepare .* complete", table, re.MULTILINE)
    assert re.search(r"^train .* failed .* cancelled", table, re.MULTILINE), table
    until(lambda: not [pid for name in cluster.names for pid in cluster.process_ids(name) if _is_python(pid)])
    again = going_deeper("cancel", study_file, "--data", image_folder, "--root", root, *options)
    assert again.stdout.startswith("nothing to cancel")


def _is_python(pid: int) -> bool:
    try:
        return b"submitit" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_the_site_is_checked_from_its_nodes(cluster: Cluster, tmp_path: Path) -> None:
    root = tmp_path / "root"
    probed = going_deeper("site", "check", write_site(tmp_path, nodes=2), "--root", root)
    assert probed.returncode == 0, probed.stderr
    assert re.search(r"ok    launch: 2 ranks on 127.0.0.\d+, 127.0.0.\d+", probed.stdout)
    assert "FAIL" not in probed.stdout
    wanted = {"rendezvous", "all-reduce", "GPUs", "shared disk", "exclusive files", "clocks", "Python", "W&B"}
    assert wanted <= json.loads((root / "sites/site.json").read_text())["checks"].keys()
