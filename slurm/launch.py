"""The launcher submits a study's missing stages as jobs.

It adds only resources and dependencies.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipeline.configs.base import StageConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import StageFailed
from pipeline.runtime.environment import PROCESS_ENVIRONMENT
from slurm import nodes, queue
from slurm.ledger import (
    Order,
    conclusion,
    entries,
    order_name,
    outcomes,
    submitting,
)
from slurm.parameters import safe
from slurm.site import Site
from slurm.snapshot import code_environment, python, snapshot
from slurm.submission import Submission, say

ONE_RANK = {"nodes": 1, "tasks_per_node": 1}
OrderKind = Literal["prepare", "train", "evaluate", "conclude"]


def launch(study: Study, missing: Sequence[StageConfig], root: Path, site: Site) -> None:
    """Submit a study's missing stages, inputs first, and the job that concludes it.

    A site of `slurm` returns at once; a `local` site waits. If a job for a stage waits
    or runs already, for any study, it is not submitted again, and the new jobs wait for
    it. If a member fails, only the stages made from it fail too.

    Raises:
        InputError: the site's ranks cannot share a batch, the root's path is not safe
            in a script, others can write to its jobs/ or replace it, a set-up line has
            a secret, or SLURM's commands are missing.
        StageFailed: a local job ended without its artefact; the message says why.
    """
    root = safe(root.absolute())
    refuse_ranks(missing, site)
    with submitting(root) as umask:
        code = snapshot(root)
        os.environ.update(PROCESS_ENVIRONMENT | os.environ)  # jobs inherit it
        os.environ.update(
            {
                **site.environment,
                **code_environment(code),
                **({"TMPDIR": site.scratch} if site.scratch else {}),
            }
        )
        submission = Submission(
            root, site, code, python(code, umask, site.python), excluded=nodes.failing(root)
        )
        if submission.excluded:
            say(f"jobs died twice on {', '.join(submission.excluded)}: new ones do not go there")
        submission.known = queue.jobs(
            [entry.job_id for entry in entries(study, root) if entry.cluster == "slurm"]
        )
        for config in missing:
            # its job may have ended since `missing` was listed: it is not alive
            if config.has_job and not config.is_complete(root):
                _submit_stage(submission, config)
        everything = [job for jobs in submission.jobs.values() for job in jobs]
        order = Order(
            name=conclusion(study),
            kind="conclude",
            content=study.model_dump(mode="json"),
            **site.patience,
        )
        waiting = submission.alive(order.name)
        if waiting is not None and submission.num_new:  # it waits for earlier jobs
            queue.cancel([waiting])
            submission.known = {}
        submission.add(order, site.report.but(**ONE_RANK), after=(), after_any=everything)
    if site.cluster == "local" and not study.is_complete(root):
        last = outcomes(root, order.name)
        raise StageFailed(
            last[-1].message if last else f"{order.name}: no word; see {root / 'jobs'}"
        )


def refuse_ranks(missing: Sequence[StageConfig], site: Site) -> None:
    """Raise InputError if a site's ranks cannot share the batch of a training."""
    for config in missing:
        if isinstance(config, TrainConfig):
            config.refuse_ranks(site.train.nodes * site.train.tasks_per_node)


def _submit_stage(submission: Submission, config: StageConfig) -> None:
    root, site = submission.root, submission.site
    if any(source.hash in submission.failed for source in config.inputs):
        submission.failed.add(config.hash)
        return
    resources = site.granted(config.stage)
    after = [job for source in config.inputs for job in submission.jobs.get(source.hash, [])]
    content, name = config.model_dump(mode="json"), order_name(config)
    array: list[str] = []
    if not config.has_ranks:
        resources = resources.but(**ONE_RANK)
    kind: OrderKind = config.stage  # type: ignore[assignment]
    if (
        config.has_parts
        and site.cluster == "slurm"
        and resources.array > 1
        and not submission.alive(name)
    ):
        part = Order(
            name=f"part-{config.hash}",
            kind=kind,
            content=content,
            num_parts=resources.array,
            **site.patience,
        )
        array = [submission.add(part, resources, after)]
    order = Order(name=name, kind=kind, content=content, **site.patience)
    submission.jobs[config.hash] = [submission.add(order, resources, after, after_any=array)]
    if site.cluster == "local" and not config.is_complete(root):
        submission.failed.add(config.hash)
        last = outcomes(root, name)
        say(f"{name}: failed: {last[-1].message if last else f'no word; see {root}/jobs'}")
