"""`benchmark scaling` on the nodes of a site: a job for each number of ranks."""

from pathlib import Path

from pipeline.errors import InputError, StageFailed
from pipeline.runtime.private import private_folder
from slurm.errand import carry_on_site
from slurm.parameters import safe
from slurm.resources import Resources
from slurm.site import Site

MINUTES = 30  # ours: of one number of ranks; a step of a slow CPU takes seconds


def launch_on(site: Site, root: Path, number: int, folder: Path) -> None:
    """Measure on so many ranks of a site.

    Raises:
        InputError: the site's tasks a node do not make such a number.
        StageFailed: the job left no measurement; the message names its log.
    """
    root = safe(root.absolute())
    private_folder(root / "jobs")
    log = carry_on_site(
        "scaling",
        folder.absolute(),
        f"scaling-{number}",
        _resources(site, number),
        site,
        root,
    )
    if not (folder / f"ranks_{number}.json").is_file():
        raise StageFailed(f"scaling-{number}: left no measurement; see {log}")


def _resources(site: Site, number: int) -> Resources:
    tasks = min(number, site.train.tasks_per_node)
    if number % tasks:
        raise InputError(
            f"--ranks {number}: are no whole nodes of {tasks} tasks (train.tasks_per_node of the"
            " site)"
        )
    resources = site.train.with_ranks(number // tasks, tasks)
    return resources.but(timeout_min=min(MINUTES, site.train.timeout_min))
