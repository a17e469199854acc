"""A study on a real cluster that enforces accounts, workload keys and limits: slurmdbd
with a MariaDB, MaxSubmitJobs=3 and MaxArraySize=5. It completes, in waves.

Debian has them as slurmdbd and mariadb-server; a machine without them skips this.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm import answers, processes
from slurm.cluster import Cluster
from slurm.cluster_folder import program_path
from slurm.ledger import Order, find
from slurm.site import Site
from slurm.submission import Submission
from tests.slurm.conftest import running_cluster
from tests.slurm.submitted import Submitted, complete, until, write_site

NEEDED = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb", "sacctmgr", "sacct")
MISSING = [name for name in NEEDED if not shutil.which(name, path=program_path())]
USER = pwd.getpwuid(os.geteuid()).pw_name
pytestmark = [
    pytest.mark.campaign,
    pytest.mark.slow,
    pytest.mark.processes,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
CONF = """\
AuthType=auth/munge
AuthInfo=socket={munge}
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={storage_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=accounts
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
TrackWCKey=yes
"""
ENFORCED = """
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={munge}
TrackWCKey=yes
AccountingStorageEnforce=associations,limits,wckeys
"""
ACCOUNTS = (
    "add cluster here",
    "add account vision cluster=here",
    f"add user {USER} account=vision wckeys=pictures defaultwckey=pictures",
    f"modify user {USER} set maxsubmitjobs=3",
)


@contextlib.contextmanager
def daemon(*command: str, **more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a daemon within the block."""
    environment = {**os.environ, "PATH": program_path(), **more}
    with subprocess.Popen(command, env=environment) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def database(folder: Path, port: int) -> Iterator[None]:
    """Run a MariaDB of its own."""
    data, socket = f"--datadir={folder}/data", f"--socket={folder}/db.sock"
    program = str(shutil.which("mariadb-install-db", path=program_path()))
    subprocess.run(
        [program, "--no-defaults", data, f"--user={USER}", "--skip-test-db"],
        check=True,
        capture_output=True,
    )
    server = str(shutil.which("mariadbd", path=program_path()))
    options = (data, socket, f"--port={port}", "--bind-address=127.0.0.1", f"--user={USER}")
    with daemon(server, "--no-defaults", *options, f"--log-error={folder}/mariadb.log"):
        sql = (
            "create user slurm@'127.0.0.1' identified by 'slurm';"
            "grant all on accounts.* to slurm@'127.0.0.1'"
        )
        client = ["mariadb", "--no-defaults", socket, "-e", sql]
        until(lambda: subprocess.run(client, capture_output=True).returncode == 0, 60)
        yield


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that takes three jobs of a user, in arrays of five, of a known key."""
    folder = tmp_path_factory.mktemp("accounts")
    port, storage_port = processes.free_ports(2)
    with (
        database(folder, storage_port),
        running_cluster(4, "MaxArraySize=5") as cluster,
        accounting(cluster, folder, port, storage_port),
    ):
        for words in ACCOUNTS:
            added = cluster.run("sacctmgr", "--immediate", *words.split())
            assert added.returncode == 0, added
        restart(cluster)
        yield cluster


@contextlib.contextmanager
def accounting(cluster: Cluster, folder: Path, port: int, storage_port: int) -> Iterator[None]:
    """Run a slurmdbd, and have a cluster enforce what it says."""
    conf, text = folder / "slurmdbd.conf", cluster.conf.read_text()
    host = re.findall(r"^SlurmctldHost=(.+?)\(", text, re.MULTILINE)[0]
    conf.touch(mode=0o600)
    values = {"host": host, "port": port, "storage_port": storage_port}
    munge = f"{cluster.folder}/run/munge.sock"
    conf.write_text(CONF.format(munge=munge, user=USER, folder=folder, **values))
    (cluster.folder / conf.name).symlink_to(conf)
    cluster.conf.write_text(
        text.replace("=accounting_storage/none", "=accounting_storage/slurmdbd")
        + ENFORCED.format(port=port, munge=munge)
    )
    program = str(shutil.which("slurmdbd", path=program_path()))
    with daemon(program, "-D", SLURM_CONF=str(cluster.conf)):
        until(lambda: cluster.run("sacctmgr", "-n", "show", "cluster").returncode == 0, 60)
        yield


def restart(cluster: Cluster) -> None:
    """Start the controller again."""
    pid = cluster.daemons()["slurmctld"]
    processes.send(pid, signal.SIGTERM)
    until(lambda: not processes.is_alive(pid), 60)
    cluster._start("slurmctld", ["-D"])
    until(lambda: cluster._idle() == len(cluster.names), 60)


def test_the_words_of_a_real_refusal(strict: Cluster) -> None:
    sleep = ["sbatch", "--hold", "--output=/dev/null", "--wrap=true"]
    taken = [strict.run(*sleep) for _ in range(3)]
    assert [process.returncode for process in taken] == [0, 0, 0], taken
    refused = strict.run(*sleep)
    assert refused.returncode == 1
    assert refused.stderr.startswith("sbatch: error: AssocMaxSubmitJobLimit\n")
    assert "job submit limit" in refused.stderr
    assert strict.run(*sleep, "--wckey=submitit").returncode == 1
    strict.run("scancel", "--user", USER)
    until(lambda: not strict.run("squeue", "-h").stdout)


def test_a_study_completes_in_waves(strict: Cluster, image_folder: Path, tmp_path: Path) -> None:
    study = Submitted(strict, tmp_path, image_folder, "--epochs", 1)
    write_site(tmp_path, array=10)
    ended = study.submit("--wait")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("the site takes no more now (AssocMaxSubmitJobLimit)") == 1
    table = study.wait()
    assert complete(table) == 6, table
    orders = re.findall(r"^((?:prepare|train|evaluate|conclude)-\w+): job", ended.stderr, re.M)
    assert len(orders) == len(set(orders)) == 6


def test_the_cluster_that_took_a_job_is_asked(strict: Cluster, tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    site = Site(cluster="slurm", clusters="here")
    submission = Submission(tmp_path, site, tmp_path, python="true")
    submission.add(Order(name="conclude-1", kind="conclude", content={}), site.report, after=())
    entry = find(tmp_path, "conclude-1")
    assert entry is not None
    assert entry.on == "here"
    assert [job.name for job in answers.queued([entry]).values()] == ["conclude-1"]
    until(lambda: not any(job.is_alive for job in answers.queued([entry]).values()), 30)
    until(lambda: entry.jobs(answers.ended([entry])), 30)  # slurmdbd hears of it later
