"""One short job of a site that a command waits for: a probe, a measurement."""

import os
import sys
import time
from pathlib import Path
from pkgutil import resolve_name

import submitit

from pipeline.errors import InputError, last_line
from pipeline.runtime.environment import users_umask
from slurm import queue
from slurm.executor import executor
from slurm.pace import pauses
from slurm.parameters import parameters
from slurm.resources import Resources
from slurm.sbatch import cluster_of, own_sbatch
from slurm.site import Site
from slurm.snapshot import code_environment, python, snapshot

# what a job may be asked to run; a job's file names one of these, and no other function
FUNCTIONS = {
    "probe": "slurm.probe:leave_word",
    "scaling": "pipeline.benchmarks.scaling_ranks:measure_ranks",
}


class Errand:
    """What each rank runs: one of `FUNCTIONS`, of a folder.

    It holds only two texts, because submitit pickles it.
    """

    def __init__(self, what: str, folder: str):
        self.what, self.folder = what, folder

    def __call__(self) -> None:
        join_ranks()
        resolve_name(FUNCTIONS[self.what])(Path(self.folder))


def carry_on_site(
    what: str, folder: Path, name: str, resources: Resources, site: Site, root: Path
) -> Path:
    """Submit one of `FUNCTIONS` of a folder, wait for the job, and return the path of
    its log.

    Raises:
        InputError: the site does not take the job; the message quotes it.
    """
    code = snapshot(root)
    os.environ.update({**site.variables, **code_environment(code)})
    jobs = executor(root / "jobs", site, python(code, users_umask(), site.python))
    jobs.update_parameters(**parameters(name, resources, site))
    try:
        with own_sbatch(kept=site.environment) as answers:
            job = jobs.submit(Errand(what, str(folder)))
    # submitit raises these errors, with the message of sbatch
    except (RuntimeError, ValueError, FileNotFoundError) as error:
        raise InputError(f"{name}: the site does not take the job: {last_line(error)}") from None
    print(f"{name}: job {job.job_id}", file=sys.stderr, flush=True)
    if site.cluster == "local":
        job.wait()
    if site.cluster == "slurm":
        queue.wait_for(job.job_id, pauses(), time.sleep, cluster_of(answers))
    log: Path = job.paths.stderr
    return log


def join_ranks() -> int:
    """Describe the ranks of this job in the environment for torch, and return ours."""
    environment = submitit.helpers.TorchDistributedEnvironment()
    if environment.world_size > 1:
        environment.export(set_cuda_visible_devices=False)
    rank: int = environment.rank
    return rank
