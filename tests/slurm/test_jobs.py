"""Studies on a real SLURM cluster: one command, and what becomes of failures and of
jobs that nobody wants any more.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slurm.cluster import Cluster
from tests.commands import contents, going_deeper
from tests.slurm.submitted import Submitted, complete, until, write_site


@pytest.mark.slow  # sixteen jobs, and most load torch
def test_one_command_from_data_to_verdict(
    cluster: Cluster, image_folder: Path, tmp_path: Path
) -> None:
    """Two members trained on two nodes each, evaluations as arrays of four: as here, on
    two ranks each, to the byte. Another command attaches.
    """
    study, here = Submitted(cluster, tmp_path, image_folder), tmp_path / "here"
    write_site(tmp_path, nodes=2, array=4)
    first = study.submit()
    assert first.returncode == 0, first.stderr
    with ThreadPoolExecutor() as beside:  # while the jobs wait for one another
        local = beside.submit(
            going_deeper, "run", study.file, *study.options, "--root", here, "--processes", 4
        )
        again = study.submit("--wait")  # while the jobs of the first are queued or run
        assert again.returncode == 0, again.stderr
        assert local.result().returncode == 0
    submitted, repeated = (
        re.findall(r": job (\d+)", text) for text in (first.stderr, again.stderr)
    )
    assert (
        len(submitted) == 9
        # the data set's array and what concludes it, trainings, two arrays, two that
        # merge, a conclusion
    )
    assert set(repeated) <= set(submitted)
    assert again.stderr.count("is there already") == len(repeated) >= 4
    assert "R6c" in again.stdout
    assert study.contents() == contents(here) != {}
    watched = study.command("status", "--watch")
    assert watched.returncode == 0, watched.stderr
    assert complete(watched.stdout) == 6
    third = study.submit()
    assert "nothing to do: all" in third.stdout
    run = json.loads(next(study.root.glob("runs/*/run.json")).read_text())
    assert run["world_size"] == 2
    assert run["provenance"]["code"] == next((study.root / "jobs/code").iterdir()).name


@pytest.mark.slow  # four jobs in a row load torch, and `--wait` looks every five seconds
def test_a_failing_member_takes_only_its_own_along(
    cluster: Cluster, image_folder: Path, tmp_path: Path
) -> None:
    study = Submitted(cluster, tmp_path, image_folder, "--rate", 1e9)
    process = study.submit("--wait")
    assert process.returncode == 3
    assert (
        process.stderr.strip().splitlines()[-1]
        == "going-deeper: tiny: not complete; see going-deeper status"
    )
    table = study.wait()
    assert re.search(
        r"^train .* failed .* loss is \S+ at step \d+; lower learning_rate", table, re.MULTILINE
    ), table
    assert re.search(
        r"^conclude .* failed .* no verdict, as these are missing: train \w+, evaluate \w+",
        table,
        re.MULTILINE,
    )
    assert re.search(r"^evaluate .* failed .* not run, as train \w+ failed", table, re.MULTILINE), (
        table
    )
    assert len(list(study.root.glob("runs/*/run.json"))) == 1
    assert len(list(study.root.glob("predictions/*/predictions.json"))) == 1
    logs = re.findall(r"^    log: (.*)$", table, re.MULTILINE)
    assert any("lower learning_rate" in Path(path).read_text() for path in logs)
    assert "lower learning_rate" in study.command("logs", "--stage", "train").stdout


def test_what_a_site_does_not_take_is_one_line(
    cluster: Cluster, image_folder: Path, tmp_path: Path
) -> None:
    study = Submitted(cluster, tmp_path, image_folder)
    study.site.write_text(study.site.read_text().replace('"main"', '"nowhere"'))
    process = study.submit()
    assert process.returncode == 2
    assert re.search(
        r"^going-deeper: prepare-\w+: the site does not take the job: .*artition",
        process.stderr,
        re.MULTILINE,
    )
    assert "Traceback" not in process.stderr


@pytest.mark.slow  # a requeued job waits for ten seconds, and four jobs in a row load torch
def test_a_passing_failure_is_tried_again_a_few_times(
    cluster: Cluster, image_folder: Path, tmp_path: Path
) -> None:
    """A disk that fails at the first try: the job is requeued, counts its retries, and
    goes on.
    """
    study = Submitted(cluster, tmp_path, image_folder, "--members", 1)
    (training,) = [config for config in study.study.stages if config.stage == "train"]
    folder = study.root / training.folder
    folder.mkdir(parents=True)
    (folder / "attempts").touch()  # a file where the run wants a folder: an OSError
    assert study.submit().returncode == 0
    until(lambda: list((study.root / "jobs").glob("train-*.outcome.json")))
    outcome = json.loads(next((study.root / "jobs").glob("train-*.outcome.json")).read_text())
    assert (outcome["state"], outcome["kind"], outcome["retries"]) == ("retried", "passing", 1)
    (folder / "attempts").unlink()
    watched = study.command("status", "--watch")
    assert watched.returncode == 0, watched.stderr
    assert complete(watched.stdout) == 4, watched.stdout


@pytest.mark.slow  # a job loads torch, and SLURM takes seconds to end it
def test_cancel_ends_the_jobs_and_leaves_what_is_whole(
    cluster: Cluster, image_folder: Path, tmp_path: Path
) -> None:
    study = Submitted(cluster, tmp_path, image_folder, "--members", 1, "--epochs", 4000)
    assert study.submit().returncode == 0
    until(lambda: list(study.root.glob("runs/*/checkpoints/step_*")))
    ended = study.command("cancel")
    assert ended.stdout.startswith("cancelled: "), ended.stderr
    table = study.wait()
    assert re.search(r"^prepare .* complete", table, re.MULTILINE)
    assert re.search(r"^train .* failed .* cancelled", table, re.MULTILINE), table
    until(
        lambda: (
            not [
                pid
                for name in cluster.names
                for pid in cluster.process_ids(name)
                if _is_python(pid)
            ]
        )
    )
    assert study.command("cancel").stdout.startswith("nothing to cancel")


def _is_python(pid: int) -> bool:
    try:
        return b"slurm.start" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_the_site_is_checked_from_its_nodes(cluster: Cluster, tmp_path: Path) -> None:
    root = tmp_path / "root"
    site = write_site(tmp_path, nodes=2)
    probed = going_deeper("site", "check", site, "--json", "--root", root)
    assert probed.returncode == 0, probed.stderr
    checked = json.loads(probed.stdout)
    words = {check["check"]: check["words"] for check in checked["checks"]}
    assert re.fullmatch(r"2 ranks on 127.0.0.\d+, 127.0.0.\d+", words["launch"])
    assert checked["passed"]
    assert all(check["passed"] for check in checked["checks"])
    assert checked["report"] == str(root / "sites/site.json")
    wanted = {
        "rendezvous",
        "all-reduce",
        "GPUs",
        "shared disk",
        "exclusive files",
        "clocks",
        "Python",
        "W&B",
    }
    assert wanted <= json.loads((root / "sites/site.json").read_text())["checks"].keys()
