"""The launcher: a study's missing stages as jobs of submitit. It adds resources and
dependencies, nothing more.
"""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import submitit

from pipeline.configs.base import StageConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, StageFailed
from pipeline.runtime.environment import PROCESS_ENVIRONMENT
from slurm import nodes, queue
from slurm.job import OrderedJob
from slurm.ledger import (
    Order,
    conclusion,
    entries,
    find,
    forget,
    order_name,
    outcomes,
    record,
    submitting,
    write_order,
)
from slurm.site import Resources, Site
from slurm.snapshot import code_environment, snapshot

NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
SAFE_PATH = re.compile(r"[A-Za-z0-9._/+-]+")
ONE_RANK = {"nodes": 1, "tasks_per_node": 1}
OrderKind = Literal["prepare", "train", "evaluate", "conclude"]


@dataclass
class Submission:
    """One command's jobs: what has been submitted or found, by artefact."""

    root: Path
    site: Site
    code: Path
    known: dict[str, queue.Queued] = field(default_factory=dict)
    # by config hash; those of an array count as one
    jobs: dict[str, list[str]] = field(default_factory=dict)
    excluded: list[str] = field(default_factory=list)  # nodes on which jobs died
    num_new: int = 0
    failed: set[str] = field(default_factory=set)  # hashes; only `local` waits, so only it knows

    def add(
        self,
        order: Order,
        resources: Resources,
        after: Sequence[str],
        after_any: Sequence[str] = (),
    ) -> str:
        """Submit an order, unless its job is alive; returns the job's id.

        Raises:
            InputError: the site does not take it; the message is what it says.
        """
        if (alive := self.alive(order.name)) is not None:
            _say(f"{order.name}: job {alive} is there already")
            return alive
        try:
            return self._submit(order, resources, after, after_any)
        # submitit's, with what sbatch said
        except (RuntimeError, ValueError, FileNotFoundError) as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise InputError(f"{order.name}: the site does not take the job: {said}") from None

    def alive(self, name: str) -> str | None:
        """The job under a name, if it waits or runs."""
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
        executor = submitit.AutoExecutor(
            folder=self.root / "jobs",
            cluster=self.site.cluster,
            slurm_max_num_timeout=self.site.max_timeouts,
            slurm_python=shlex.join(
                [sys.executable, "-S", str(self.code / "slurm" / "hold_notices.py")]
            ),
        )
        chosen = parameters(order.name, resources, self.site, after, after_any)
        if self.site.cluster == "slurm" and self.excluded:
            chosen["slurm_exclude"] = ",".join(
                filter(None, (self.site.slurm_exclude, *self.excluded))
            )
        executor.update_parameters(**chosen)
        job = OrderedJob(str(path), str(self.root))
        if order.num_parts > 1:
            with executor.batch():
                submitted = [executor.submit(job) for _ in range(order.num_parts)]
        else:
            submitted = [executor.submit(job)]
        job_id = submitted[0].job_id.split("_")[0]
        self.num_new += 1
        record(self.root, order.name, self.site.cluster, job_id, order.num_parts, self.code.name)
        _say(
            f"{order.name}: job {job_id}"
            + (f", an array of {order.num_parts}" if order.num_parts > 1 else "")
        )
        if self.site.cluster == "local":
            for one in submitted:
                one.wait()
        return job_id


def launch(study: Study, missing: Sequence[StageConfig], root: Path, site: Site) -> None:
    """Submit what a study misses, inputs first, and a job that concludes it. `slurm`
    returns at once, `local` waits.

    A stage whose job waits or runs already, of this study or of another, is not
    submitted again: the new jobs wait for it. A failed member takes along only what is
    made from it.

    Raises:
        InputError: the site's ranks cannot share a batch, the root's path cannot stand
            in a script, its jobs/ can be written by others, or SLURM's commands are not
            there.
        StageFailed: a local job ended without its artefact; the message says why.
    """
    root = safe(root.absolute())
    for config in missing:
        if isinstance(config, TrainConfig):
            config.refuse_ranks(site.train.nodes * site.train.tasks_per_node)
    with submitting(root):
        code = snapshot(root)
        os.environ.update(PROCESS_ENVIRONMENT | os.environ)  # jobs inherit it
        os.environ.update(
            {
                **site.environment,
                **code_environment(code),
                **({"TMPDIR": site.scratch} if site.scratch else {}),
            }
        )
        submission = Submission(root, site, code, excluded=nodes.failing(root))
        if submission.excluded:
            _say(f"jobs died twice on {', '.join(submission.excluded)}: new ones do not go there")
        submission.known = queue.jobs(
            [entry.job_id for entry in entries(study, root) if entry.cluster == "slurm"]
        )
        for config in missing:
            if config.has_job:
                _submit_stage(submission, config)
        everything = [job for jobs in submission.jobs.values() for job in jobs]
        order = Order(
            name=conclusion(study),
            kind="conclude",
            content=study.model_dump(mode="json"),
            **site.patience,
        )
        waiting = submission.alive(order.name)
        if waiting is not None and submission.num_new:  # it waits for other jobs than those of now
            queue.cancel([waiting])
            submission.known = {}
        submission.add(order, site.report.but(**ONE_RANK), after=(), after_any=everything)
    if site.cluster == "local" and not study.report.is_complete(root):
        last = outcomes(root, order.name)
        raise StageFailed(
            last[-1].message if last else f"{order.name}: no word; see {root / 'jobs'}"
        )


def safe(root: Path) -> Path:
    """The root, if its path can stand in a batch script.

    Raises:
        InputError: it has a character that could mean something there.
    """
    if not SAFE_PATH.fullmatch(str(root)):
        raise InputError(
            f"--root {str(root)!r}: its path goes into batch scripts; expected only letters, digits"
            " and ._/+-"
        )
    return root


def _submit_stage(submission: Submission, config: StageConfig) -> None:
    root, site = submission.root, submission.site
    if any(named.hash in submission.failed for named in config.inputs):
        submission.failed.add(config.hash)
        return
    granted = site.granted(config.stage)
    after = [job for named in config.inputs for job in submission.jobs.get(named.hash, [])]
    content, name = config.model_dump(mode="json"), order_name(config)
    array: list[str] = []
    if not config.has_ranks:
        granted = granted.but(**ONE_RANK)
    kind: OrderKind = config.stage  # type: ignore[assignment]
    if (
        config.has_parts
        and site.cluster == "slurm"
        and granted.array > 1
        and not submission.alive(name)
    ):
        part = Order(
            name=f"part-{config.hash}",
            kind=kind,
            content=content,
            num_parts=granted.array,
            **site.patience,
        )
        array = [submission.add(part, granted, after)]
    order = Order(name=name, kind=kind, content=content, **site.patience)
    submission.jobs[config.hash] = [submission.add(order, granted, after, after_any=array)]
    if site.cluster == "local" and not config.is_complete(root):
        submission.failed.add(config.hash)
        last = outcomes(root, name)
        _say(f"{name}: failed: {last[-1].message if last else f'no word; see {root}/jobs'}")


def parameters(
    name: str,
    granted: Resources,
    site: Site,
    after: Sequence[str] = (),
    after_any: Sequence[str] = (),
) -> dict[str, Any]:
    """Submitit's parameters for a job, to start once the jobs `after` have succeeded
    and those `after_any` have ended.

    >>> site = Site(cluster="slurm")
    >>> chosen = parameters("train-1", Resources(), site, ["41", "42"], ["43"])
    >>> chosen["slurm_additional_parameters"]["dependency"]
    'afterok:41:42,afterany:43'
    """
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r}: cannot name a job; expected letters, digits and ._- only")
    chosen: dict[str, Any] = {
        "name": name[:64],
        **granted.model_dump(exclude_none=True, exclude={"array"}),
    }
    if not granted.gpus_per_node:
        del chosen["gpus_per_node"]
    if site.cluster == "local":
        return chosen
    for key in (
        "slurm_partition",
        "slurm_account",
        "slurm_qos",
        "slurm_constraint",
        "slurm_exclude",
    ):
        if (value := getattr(site, key)) is not None:
            chosen[key] = value
    if site.slurm_setup:
        chosen["slurm_setup"] = ["set -eE -o pipefail", *site.slurm_setup]
    conditions = [
        f"{kind}:{':'.join(jobs)}"
        for kind, jobs in (("afterok", after), ("afterany", after_any))
        if jobs
    ]
    more: dict[str, Any] = {"requeue": True}
    if conditions:
        more |= {"dependency": ",".join(conditions), "kill-on-invalid-dep": "yes"}
    return {
        **chosen,
        # since 22.05 srun does not take it from sbatch
        "slurm_srun_args": [f"--cpus-per-task={granted.cpus_per_task}"],
        "slurm_array_parallelism": site.slurm_array_parallelism,
        "slurm_signal_delay_s": site.slurm_signal_delay_s,
        "slurm_additional_parameters": more,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
