"""Submit one command's jobs with submitit."""

import re
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
from slurm.sbatch import SubmitLimit, cluster_of, own_sbatch
from slurm.site import Site

WAITING_PICKLE = re.compile(r"[0-9a-f]{32}\.pkl")  # submitit's, until a job has an id


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
    new: list[str] = field(default_factory=list)  # names of the orders that it submitted
    attached: set[str] = field(default_factory=set)  # names whose jobs were there
    failed: set[str] = field(default_factory=set)  # hashes; of jobs that it saw end
    most_parts: int | None = None  # jobs of an array

    def add(
        self,
        order: Order,
        resources: Resources,
        after: Sequence[str],
        after_any: Sequence[str] = (),
    ) -> str:
        """Submit an order, unless its job is alive, and return the job's id.

        Raises:
            SubmitLimit: the site takes it once other jobs have ended.
            InputError: the site refuses the job; the message quotes the site.
        """
        if (alive := self.alive(order.name)) is not None:
            if order.name not in {*self.new, *self.attached}:
                say(f"{order.name}: job {alive} is there already")
                self.attached.add(order.name)
            return alive
        try:
            return self._submit(order, resources, after, after_any)
        except SubmitLimit:
            self._clear(order)
            raise
        # submitit raises these errors, with the message of sbatch
        except (RuntimeError, ValueError, FileNotFoundError) as error:
            raise InputError(
                f"{order.name}: the site does not take the job: {last_line(error)}"
            ) from None

    def add_array(self, order: Order, resources: Resources, after: Sequence[str]) -> list[str]:
        """Submit the jobs that share an order, as many as the site takes.

        Return the array's id; nothing if the site does not take two. The artefact does
        not depend on how many share it.
        """
        if self.most_parts is None:
            size = queue.max_array_size()
            self.most_parts = order.num_parts if size is None else size
        count = min(order.num_parts, max(1, self.most_parts))
        while count > 1:
            try:
                return [self.add(order.but(num_parts=count), resources, after)]
            except SubmitLimit as limit:
                count //= 2
                if limit.is_size:
                    self.most_parts = count
        return []

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
        with own_sbatch(kept=self.site.environment) as answers:
            if order.num_parts > 1:
                with jobs.batch():
                    submitted = [jobs.submit(job) for _ in range(order.num_parts)]
            else:
                submitted = [jobs.submit(job)]
        job_id = submitted[0].job_id.split("_")[0]
        self.new.append(order.name)
        record(
            self.root,
            order.name,
            self.site.cluster,
            job_id,
            order.num_parts,
            self.code.name,
            on=cluster_of(answers),
        )
        say(
            f"{order.name}: job {job_id}"
            + (f", an array of {order.num_parts}" if order.num_parts > 1 else "")
        )
        if self.site.cluster == "local":
            for part in submitted:
                part.wait()
        return job_id

    def _clear(self, order: Order) -> None:
        """Remove the pickles that submitit wrote for a submission that was refused."""
        mark = f"/{order.name}.order.json".encode()
        for path in (self.root / "jobs").glob("*.pkl"):
            if WAITING_PICKLE.fullmatch(path.name) and mark in path.read_bytes():
                path.unlink()


def say(text: str) -> None:
    """Tell the user, on stderr."""
    print(text, file=sys.stderr, flush=True)
