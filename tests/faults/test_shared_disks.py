"""A root on a shared disk that lacks something: the study is the same, or it is refused
at the start by one line that names the root and what it lacks.
"""

import errno
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.artefacts import locks
from pipeline.configs.base import StageConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import Study
from pipeline.errors import InputError, StageFailed
from pipeline.runtime import file_system
from slurm import conclude, job, ledger
from tests.commands import TOP, Finished, contents, going_deeper
from tests.faults import shims

REFUSED = "--root must be on"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shims.build(tmp_path_factory.mktemp("shim"))


@pytest.mark.processes
@pytest.mark.parametrize(
    ("what", "number", "message"),
    [
        ("flock", errno.ENOLCK, "its file system has no locks (No locks available)"),
        ("flock", errno.ENOTSUP, "its file system has no locks (Operation not supported)"),
        ("flock", errno.ENOSYS, "its file system has no locks (Function not implemented)"),
        ("link", errno.EPERM, "has no hard links (Operation not permitted)"),
        ("link", errno.ENOTSUP, "has no hard links (Operation not supported)"),
        ("link", errno.ENOSYS, "has no hard links (Function not implemented)"),
    ],
)
def test_a_disk_without_is_refused_before_any_work(
    what: str, number: int, message: str, shim: Path, experiment: Path, image_folder: Path
) -> None:
    root = experiment.parent / "root"
    ended = going_deeper(
        *("run", experiment, "--data", image_folder, "--root", root),
        environment=shims.variables(shim, **{what: number}),
    )
    assert ended.returncode == 2, ended.stderr
    line = ended.stderr.splitlines()[-1]
    assert line.startswith(f"going-deeper: {root}: its file system"), line
    assert message in line
    assert REFUSED in line
    assert "Traceback" not in ended.stderr
    assert [
        path for path in root.rglob("*") if path.is_file() and path.parent.name != "locks"
    ] == []


@pytest.mark.parametrize(
    ("mounted", "message"),
    [
        ("nfs4 server:/ rw,vers=4.2,local_lock=none", ""),
        ("nfs4 server:/ rw,local_lock=posix", ""),
        ("nfs server:/ rw,nolock,local_lock=all", "(nfs, mounted with local_lock=all)"),
        ("nfs4 server:/ rw,local_lock=flock", "(nfs4, mounted with local_lock=flock)"),
        ("lustre 10.0.0.1@tcp:/l rw,localflock", "(lustre, mounted with localflock)"),
        ("lustre 10.0.0.1@tcp:/l rw,flock", ""),
        ("cifs //server/share rw,nobrl", "(cifs, mounted with nobrl)"),
        ("ext4 /dev/sda1 rw", ""),
    ],
)
def test_locks_of_one_host_alone_are_refused(
    mounted: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "mountinfo"
    root = tmp_path / "une entrée"
    root.mkdir()
    written = str(root).replace(" ", r"\040")
    table.write_text(
        f"1 0 0:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:2 / {written} rw shared:1 - {mounted}\n"
        f"3 1 0:3 / {written}er rw - nfs4 server:/ rw,local_lock=all\n"
    )
    monkeypatch.setattr(file_system, "MOUNTS", table)
    file_system.refuse_unfit.cache_clear()
    images = PrepareConfig(source="digits", name="digits")
    if not message:
        with locks.lock(images, root):
            pass
        return
    with (
        pytest.raises(InputError, match="keeps the locks of each host apart") as refused,
        locks.lock(images, root),
    ):
        pass
    assert str(refused.value).startswith(f"{root}: ")
    assert message in str(refused.value)


def test_a_file_that_is_seen_late_is_awaited_but_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, true = [0], Path.is_file

    def late(path: Path) -> bool:
        looks[0] += 1
        return looks[0] > 3 and true(path)

    path = tmp_path / "run.json"
    path.touch()
    monkeypatch.setattr(Path, "is_file", late)
    file_system.wait_for([path], 10)
    assert looks == [4]
    file_system.wait_for([tmp_path / "never"], 0.3)


def make_late(config: StageConfig, root: Path) -> None:
    def make() -> None:
        (root / config.folder).mkdir(parents=True)
        (root / config.folder / config.last_file).touch()

    threading.Timer(0.5, make).start()


def test_a_job_awaits_what_jobs_on_other_nodes_have_made(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = study.check.results[0].members[0]
    seen = []
    monkeypatch.setattr(
        job, "run_stage", lambda config, root: seen.append(config.inputs[0].is_complete(root))
    )
    order = ledger.Order(name="evaluate-1", kind="evaluate", content=member.model_dump(mode="json"))
    for source in member.inputs:
        make_late(source, tmp_path)
    job._do(order, tmp_path, 0)
    assert seen == [True]


def test_a_conclusion_awaits_the_jobs_that_ended_well(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait for those that failed."""
    monkeypatch.setattr(conclude, "run_stage", lambda config, root: None)
    first, *others = [config for config in study.stages if config.has_job]
    ledger.write_outcome(tmp_path, ledger.order_name(first), ledger.Outcome(state="done"))
    for config in others:
        failure = ledger.Outcome(state="failed")
        ledger.write_outcome(tmp_path, ledger.order_name(config), failure)
    make_late(first, tmp_path)
    with pytest.raises(StageFailed, match="no verdict, as these are missing: train") as failed:
        conclude.conclude(study, tmp_path)
    assert f"{first.stage} {first.hash}" not in str(failed.value)


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.processes
def test_hosts_that_see_each_others_files_late_agree(
    shim: Path, finished: Finished, tmp_path: Path
) -> None:
    """Two ranks, each on a host of its own, see each other's files after a second."""
    root, table = tmp_path / "root", tmp_path / "table"
    root.mkdir()
    with table.open("wb") as file:
        file.truncate(2**20)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "pipeline", "run", str(finished.experiment)]
    command += ["--data", str(finished.data), "--root", str(root)]
    ranks = []
    for rank in range(2):
        where: dict[str, object] = {
            "RANK": rank,
            "LOCAL_RANK": 0,
            "WORLD_SIZE": 2,
            "LOCAL_WORLD_SIZE": 1,
        }
        where |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
        late = shims.variables(shim, late=1000, host=rank, root=root, table=table)
        more = os.environ | {name: str(value) for name, value in where.items()} | late
        ranks.append(
            subprocess.Popen(command, cwd=TOP, env=more, stderr=subprocess.PIPE, text=True)
        )
    errors = [rank.communicate(timeout=300)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    assert contents(root) == contents(finished.root)


@pytest.mark.campaign
@pytest.mark.slow
@pytest.mark.processes
def test_two_hosts_whose_locks_are_their_own_do_no_harm(
    shim: Path, finished: Finished, tmp_path: Path
) -> None:
    """Both make the whole study at once, under one root: it is the same, or one of them
    ends in one line and the next run goes on.
    """
    root = tmp_path / "root"
    command = [sys.executable, "-m", "pipeline", "run", str(finished.experiment), "--data"]
    command += [str(finished.data), "--root", str(root), "--processes", "2"]
    alone = os.environ | shims.variables(shim, flock="alone")
    hosts = [
        subprocess.Popen(command, cwd=TOP, env=alone, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    errors = [host.communicate(timeout=300)[1] for host in hosts]
    assert all("Traceback" not in text and "a mistake of ours" not in text for text in errors), (
        errors
    )
    ended = going_deeper(*command[3:], environment=shims.variables(shim, flock="alone"))
    assert ended.returncode == 0, ended.stderr
    assert contents(root) == contents(finished.root)
    assert going_deeper("recount", finished.experiment, "--root", root).returncode == 0
