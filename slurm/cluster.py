"""A real SLURM cluster of several nodes on this machine, for trials and for the tests.

It runs one slurmctld, a slurmd for each node, and munged, as root or not. It needs no
systemd and no cgroups, and uses only loopback addresses. Everything lies in one folder,
and `down` ends it all. It needs slurmctld, slurmd, slurm-client and munge, as Debian
packages them.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import InputError, StageFailed
from pipeline.runtime import disk
from pipeline.runtime.private import private_folder
from slurm import processes
from slurm.cluster_folder import configure, link, program_path, refuse_machine, user

START_SECONDS = 30
MUNGE_FILES = {"socket": "sock", "key-file": "key", "pid-file": "pid", "seed-file": "seed"}


class Cluster:
    """The cluster in a folder.

    `names` are the nodes: loopback addresses, which resolve without /etc/hosts. A
    silent node counts as lost after about three times `node_timeout` seconds. `lines`
    are more of slurm.conf, before the nodes: for them NodeName=DEFAULT holds.
    """

    def __init__(
        self,
        folder: Path,
        nodes: int = 4,
        cores: int = 4,
        memory_mb: int = 8000,
        node_timeout: int = 10,
        lines: str = "",
    ):
        self.folder = folder.resolve()
        self.cores, self.memory_mb, self.node_timeout = cores, memory_mb, node_timeout
        self.lines = lines
        self.names = [f"127.0.{(11 + k) // 256}.{(11 + k) % 256}" for k in range(nodes)]
        self.conf = self.folder / "slurm.conf"
        self._children: list[subprocess.Popen[bytes]] = []

    def environment(self) -> dict[str, str]:
        """Return the variables with which SLURM's commands speak to this cluster."""
        outer = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM_", "SBATCH_", "SRUN_"))
        }
        return {**outer, "SLURM_CONF": str(self.conf)}

    def up(self) -> None:
        """Start the cluster, and wait until all nodes are idle.

        Raises:
            InputError: a program is missing, the folder's path is too long, or a
                cluster runs there already.
            StageFailed: a daemon ended or did not start; the message names its log.
        """
        refuse_machine(self.folder)
        if self.daemons():
            raise InputError(
                f"{self.folder}: a cluster runs there already; going-deeper slurm down --dir"
                f" {self.folder} ends it"
            )
        private_folder(self.folder)
        shutil.rmtree(self.folder / "pids", ignore_errors=True)  # of a cluster that crashed
        configure(
            self.folder, self.names, self.cores, self.memory_mb, self.node_timeout, self.lines
        )
        try:
            run = self.folder / "run"
            files = [f"--{option}={run}/munge.{end}" for option, end in MUNGE_FILES.items()]
            self._start(
                "munged",
                ["--foreground", "--force", *files, f"--log-file={self.folder}/log/munged.log"],
            )
            self._wait("munged", (run / "munge.sock").exists)
            self._start("slurmctld", ["-D"])
            for name in self.names:
                self.start_node(name)
            self._wait("slurmctld and its nodes", lambda: self._idle() == len(self.names))
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End all jobs, then all daemons."""
        if "slurmctld" in self.daemons():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.run("scancel", "--full", "--user", user(), timeout=10)
                deadline = time.monotonic() + 10
                while (
                    self.run("squeue", "--noheader", timeout=5).stdout.strip()
                    and time.monotonic() < deadline
                ):
                    time.sleep(0.1)
        order = sorted(
            self.daemons().items(),
            key=lambda item: ("slurmd-", "slurmct", "munged").index(item[0][:7]),
        )
        for number, patience in ((signal.SIGTERM, 8), (signal.SIGKILL, 2)):
            for _, pid in order:
                processes.send(pid, number)
            deadline = time.monotonic() + patience
            while (
                any(map(processes.is_alive, (pid for _, pid in order)))
                and time.monotonic() < deadline
            ):
                time.sleep(0.05)
        for pid in self.process_ids():
            processes.send(pid, signal.SIGKILL)
        for child in self._children:
            child.wait()
        shutil.rmtree(self.folder / "pids", ignore_errors=True)

    def start_node(self, name: str) -> None:
        """Start a node's slurmd."""
        self._start(
            f"slurmd-{name}", ["-D", "-N", name, "-d", str(link(self.folder, "slurmstepd"))]
        )

    def daemons(self) -> dict[str, int]:
        """Return the running daemons, with their process ids."""
        paths = (self.folder / "pids").glob("[a-z]*")
        process_ids = {path.name: int(path.read_text()) for path in paths}
        return {
            name: pid
            for name, pid in process_ids.items()
            if processes.is_alive(pid) and name.split("-")[0] in processes.command(pid)
        }

    def process_ids(self, node: str | None = None) -> list[int]:
        """Return the ids of daemons and jobs, of this cluster or of one node."""
        parents = dict(processes.parents())
        # a user's shell has SLURM_CONF only, without a mark
        marks = {f"SLURMD_NODENAME={name}" for name in ([node] if node else self.names)}
        pids = set()
        for pid in parents:
            variables = set(processes.environment(pid))
            if f"SLURM_CONF={self.conf}" in variables and marks & variables:
                pids.add(pid)
        if node and (daemon := self.daemons().get(f"slurmd-{node}")):
            pids |= {daemon} | {
                pid for pid in parents if daemon in processes.ancestors(pid, parents)
            }
        # a step's manager is no child of a slurmd and has overwritten its environment;
        # but it is the parent of its tasks
        if node:
            pids |= {
                parents[pid]
                for pid in pids
                if processes.command(parents.get(pid, 0)).startswith("slurmstepd")
            }
        return sorted(pids)

    def run(
        self, *command: str, timeout: float | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run one of SLURM's commands on this cluster."""
        return subprocess.run(
            command,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def _start(self, name: str, arguments: list[str]) -> None:
        program = name.split("-")[0]
        log = (self.folder / "log" / f"{name}.out").open("ab")
        with log:
            process = subprocess.Popen(
                [str(link(self.folder, program)), *arguments],
                env={**self.environment(), "PATH": program_path()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._children.append(process)
        disk.write_atomic(self.folder / "pids" / name, str(process.pid).encode())

    def _idle(self) -> int:
        # a node has a line for each of its partitions
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %t").stdout.splitlines()
        return sum(line.endswith(" idle") for line in set(lines))

    def _wait(self, what: str, test: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        started = {path.name for path in (self.folder / "pids").glob("[a-z]*")}
        while not test():
            if (dead := started - self.daemons().keys()) or time.monotonic() > deadline:
                problem = (
                    f"{', '.join(sorted(dead))} ended"
                    if dead
                    else f"{what}: not ready after {START_SECONDS} s"
                )
                raise StageFailed(f"{problem}; see {self.folder}/log")
            time.sleep(0.05)
