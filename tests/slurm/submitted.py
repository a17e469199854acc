"""A small study that is submitted to the cluster, and what becomes of it."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.configs.experiment import load_study
from slurm import status
from slurm.cluster import Cluster
from slurm.table import table
from tests.commands import contents, going_deeper

STUDY = """
from pathlib import Path
from pipeline.configs import *

def experiment(data: Path | None = None, members: int = 2, epochs: float = 4,
               width: float = 0.125, rate: float = 0.01):
    images = PrepareConfig(source="imagefolder", name="colours", path=data)
    network = NetworkConfig(input_size=42, width=width)
    base = TrainConfig(data=images, network=network, num_epochs=epochs,
                       global_batch_size=8, clip_norm=1.0, validate_every_epochs=10,
                       checkpoint_every_seconds=2)
    runs = [base.but(data_seed=seed, learning_rate=rate if seed == 1 else 0.01)
            for seed in range(members)]
    evaluated = tuple(EvaluateConfig(data=images, classifier=run, images_per_chunk=1)
                      for run in runs)
    return Study(name="tiny", title="A tiny study", check=CheckConfig(results=table3(evaluated)))
"""
SITE = """
cluster = "slurm"
slurm_partition = "main"
slurm_signal_delay_s = {delay}
[prepare]
mem_gb = 1
array = {array}
timeout_min = 10
[train]
nodes = {nodes}
mem_gb = 1
timeout_min = {minutes}
[evaluate]
mem_gb = 1
array = {array}
timeout_min = 10
[report]
mem_gb = 1
timeout_min = 10
"""


class Submitted:
    """The study in a folder with its root and its site. `options` are the study's own;
    its commands get `environment` too.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        data: Path,
        *options: object,
        environment: Mapping[str, str] | None = None,
    ):
        self.cluster, self.folder, self.environment = cluster, folder, environment
        self.root, self.site, self.file = folder / "root", write_site(folder), folder / "tiny.py"
        self.file.write_text(STUDY)
        self.options = ("--data", data, *options)
        self.study = load_study(self.file, [str(option) for option in self.options])

    def command(self, name: str, *more: object) -> "subprocess.CompletedProcess[str]":
        """Run a command on the study, in a process of its own."""
        return going_deeper(
            name, self.file, *self.options, "--root", self.root, *more, environment=self.environment
        )

    def submit(self, *more: object) -> "subprocess.CompletedProcess[str]":
        return self.command("run", "--site", self.site, *more)

    def wait(self) -> str:
        """Wait until no job of the study runs or waits, and return the table. It does
        what `status --watch` does, but looks more often.
        """
        status.wait(self.study, self.root, seconds=0.5)
        return table(status.status(self.study, self.root))

    def log(self, name: str) -> str:
        """Return what the jobs whose name begins with `name` have written so far, in
        all attempts.
        """
        paths = sorted(
            path
            for job_id in self._jobs(name)
            for path in (self.root / "jobs").glob(f"{job_id}_*_log.err")
        )
        return "\n".join(path.read_text() for path in paths)

    def nodes(self, name: str) -> list[str]:
        """Return the nodes of the running jobs whose name begins with `name`. A list
        of one node is that node.
        """
        jobs = f"--jobs={','.join(self._jobs(name))}"
        return self.cluster.run(
            "squeue", "--noheader", "--array", jobs, "--states=RUNNING", "--format=%N"
        ).stdout.split()

    def contents(self) -> dict[Path, str]:
        return contents(self.root)

    def _jobs(self, name: str) -> list[str]:
        """Return the ids of the jobs whose name begins with `name`."""
        return [
            json.loads(path.read_text())["job_id"]
            for path in (self.root / "jobs").glob(f"{name}-*.job.json")
        ]


def complete(table: str) -> int:
    """Count the lines of a table of states that say "complete", with their job."""
    stages = "prepare|train|evaluate|conclude"
    return len(re.findall(rf"^({stages}) .* complete +\d", table, re.MULTILINE))


def until(test: Callable[[], object], seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def write_site(
    folder: Path, nodes: int = 1, array: int = 1, minutes: int = 10, delay: int = 90
) -> Path:
    """Write a site file for the cluster."""
    path = folder / "site.toml"
    path.write_text(SITE.format(nodes=nodes, array=array, minutes=minutes, delay=delay))
    return path
