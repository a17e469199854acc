"""Submit one command's jobs with submitit."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.errors import InputError, last_line
from slurm import nodes, queue
from slurm.executor import executor
from slurm.job import OrderedJob
from slurm.ledger import (
    Order,
    find,
    forget,
    record,
    write_order,
)
from slurm.parameters import parameters
from slurm.resources import Resources
from slurm.site import Site


@dataclass
class Submission:
    """One command's jobs, by artefact: those it submitted, and those it met."""

    root: Path
    site: Site
    code: Path
    python: str  # the command of a job's Python
    known: dict[str, queue.Queued] = field(default_factory=dict)
    # by config hash; the jobs of an array count as one
    jobs: dict[str, list[str]] = field(default_factory=dict)
    excluded: list[str] = field(default_factory=list)  # nodes on which jobs died
    num_new: int = 0
    failed: set[str] = field(default_factory=set)  # hashes; known only for `local`, which waits

    def add(
        self,
        order: Order,
        resources: Resources,
        after: Sequence[str],
        after_any: Sequence[str] = (),
    ) -> str:
        """Submit an order, unless its job is alive, and return the job's id.

        Raises:
            InputError: the site refuses the job; the message quotes the site.
        """
        if (alive := self.alive(order.name)) is not None:
            say(f"{order.name}: job {alive} is there already")
            return alive
        try:
            return self._submit(order, resources, after, after_any)
        # submitit raises these errors, with the message of sbatch
        except (RuntimeError, ValueError, FileNotFoundError) as error:
            raise InputError(
                f"{order.name}: the site does not take the job: {last_line(error)}"
            ) from None

    def alive(self, name: str) -> str | None:
        """Return the id of the job under a name, if it waits or runs."""
        entry = find(self.root, name)
        if entry is None or entry.cluster != "slurm":
            return None
        return entry.job_id if any(job.is_alive for job in entry.jobs(self.known)) else None

    def _submit(
        self, order: Order, resources: Resources, after: Sequence[str], after_any: Sequence[str]
    ) -> str:
        forget(self.root, order.name)
        nodes.forget(self.root, order.name)
        path = write_order(self.root, order)
        jobs = executor(self.root / "jobs", self.site, self.python)
        jobs.update_parameters(
            **parameters(order.name, resources, self.site, after, after_any, self.excluded)
        )
        job = OrderedJob(str(path), str(self.root))
        if order.num_parts > 1:
            with jobs.batch():
                submitted = [jobs.submit(job) for _ in range(order.num_parts)]
        else:
            submitted = [jobs.submit(job)]
        job_id = submitted[0].job_id.split("_")[0]
        self.num_new += 1
        record(self.root, order.name, self.site.cluster, job_id, order.num_parts, self.code.name)
        say(
            f"{order.name}: job {job_id}"
            + (f", an array of {order.num_parts}" if order.num_parts > 1 else "")
        )
        if self.site.cluster == "local":
            for part in submitted:
                part.wait()
        return job_id


def say(text: str) -> None:
    """Tell the user, on stderr."""
    print(text, file=sys.stderr, flush=True)
