"""Prepare the folder of a cluster on this machine, before its daemons start.

It gets a configuration, munge's key, and links to SLURM's programs.
"""

import os
import pwd
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.runtime import disk
from slurm import processes

SBIN = "/usr/sbin:/usr/local/sbin:/sbin"
NEEDED = (
    "munged",
    "slurmctld",
    "slurmd",
    "slurmstepd",
    "sbatch",
    "srun",
    "squeue",
    "scontrol",
    "scancel",
)
MAX_PATH = 80  # ours: the path of a unix socket has at most 108 characters
# cred_expire: a requeued job waits one second longer than this; the default is 120 s.
# With a wait below 10 s, the end of the job's old run could meet its new run.
CONF = """\
ClusterName=here
SlurmctldHost={host}({address})
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock,cred_expire=9
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
{listen}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=5,bf_interval=2
MaxArraySize=10001
ReturnToService=2
SlurmdTimeout={node_timeout}
MessageTimeout={node_timeout}
KillWait=2
CompleteWait=0
JobRequeue=1
MinJobAge=86400
AccountingStorageType=accounting_storage/none
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_programs() -> list[str]:
    """Return the programs of SLURM and munge that this machine lacks."""
    return [name for name in NEEDED if not shutil.which(name, path=program_path())]


def program_path() -> str:
    """Return the PATH with the folders of daemons, which a user's PATH may lack."""
    return f"{os.environ.get('PATH', '')}:{SBIN}"


def refuse_machine(folder: Path) -> None:
    """Raise InputError if no cluster can run here.

    A program is missing, or the folder's path is too long.
    """
    if missing := missing_programs():
        raise InputError(
            f"not installed: {', '.join(missing)}; on Debian: apt-get install slurmctld slurmd"
            " slurm-client munge"
        )
    if len(str(folder)) > MAX_PATH:
        raise InputError(
            f"{folder}: is longer than {MAX_PATH} characters, which munge's socket does not allow"
        )


def configure(
    folder: Path,
    names: Sequence[str],
    cores: int,
    memory_mb: int,
    node_timeout: int,
    lines: str = "",
) -> None:
    """Write what the daemons read: the folders, munge's key, and slurm.conf.

    One of `lines` takes the place of the usual line of its parameter.
    """
    for name in ("state", "spool", "log", "run", "bin", "pids"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    key = folder / "run/munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    # the daemons listen on the address of the host's name, or on all addresses where
    # the name does not resolve
    try:
        address, listen = (
            socket.gethostbyname(socket.gethostname()),
            "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",
        )
    except OSError:
        address, listen = "127.0.0.1", ""
    host = socket.gethostname().split(".")[0]
    controller_port, *ports = processes.free_ports(len(names) + 1)
    nodes = (
        f"NodeName={name} NodeHostname={host} NodeAddr={address} Port={port} CPUs={cores}"
        f" Sockets=1 CoresPerSocket={cores} ThreadsPerCore=1 RealMemory={memory_mb}"
        " State=UNKNOWN"
        for name, port in zip(names, ports, strict=True)
    )
    others = {line.partition("=")[0] for line in lines.splitlines()}
    usual = [line for line in CONF.splitlines(True) if line.partition("=")[0] not in others]
    content = "".join(usual).format(
        host=host,
        address=address,
        controller_port=controller_port,
        user=user(),
        folder=folder,
        listen=listen,
        node_timeout=node_timeout,
        nodes="\n".join([lines, *nodes]),
    )
    disk.write_atomic(folder / "slurm.conf", content.encode())


def link(folder: Path, program: str) -> Path:
    """Make a link with exactly the program's name, and return it.

    Under another name, SLURM's daemons silently ignore parts of their configuration.
    """
    link = folder / "bin" / program
    if not link.is_symlink():
        link.symlink_to(shutil.which(program, path=program_path()) or program)
    return link


def user() -> str:
    """Return the user who owns the daemons and the jobs."""
    return pwd.getpwuid(os.geteuid()).pw_name
