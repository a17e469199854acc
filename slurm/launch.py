"""The launcher submits a study's missing stages as jobs.

It adds only resources and dependencies.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pipeline.configs.base import StageConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, StageFailed
from pipeline.runtime.environment import PROCESS_ENVIRONMENT
from slurm import answers, nodes, queue
from slurm.ledger import (
    Order,
    conclusion,
    entries,
    find,
    order_name,
    outcomes,
    submitting,
)
from slurm.pace import pauses
from slurm.parameters import safe
from slurm.sbatch import SubmitLimit
from slurm.site import KINDS, Site
from slurm.snapshot import code_environment, python, snapshot
from slurm.submission import Submission, say
from slurm.variables import set_aside

ONE_RANK = {"nodes": 1, "tasks_per_node": 1}
OrderKind = Literal["prepare", "train", "evaluate", "conclude"]


def launch(study: Study, missing: Sequence[StageConfig], root: Path, site: Site) -> None:
    """Submit a study's missing stages, inputs first, and the job that concludes it.

    A site of `slurm` returns once it has taken all jobs; a `local` site waits for them.
    If a limit of the site keeps jobs out, they follow as others end. If a job for a
    stage waits or runs already, for any study, it is not submitted again, and the new
    jobs wait for it. If a member fails, only the stages made from it fail too.

    Raises:
        InputError: the site's ranks cannot share a batch, the root's path is not safe
            in a script, others can write to its jobs/ or replace it, a set-up line has
            a secret, the site takes no job at all, or SLURM's commands are missing.
        StageFailed: a local job ended without its artefact; the message says why.
    """
    root = safe(root.absolute())
    refuse_ranks(missing, site)
    with submitting(root) as umask:
        submission = _prepared(root, site, umask)
        limit = _submit(submission, study, missing)
    if limit is not None:
        _refuse_vain_wait(submission, limit)
    count, seconds = 0, pauses()
    while limit is not None:
        if len(submission.new) > count:
            count, seconds = len(submission.new), pauses()
        time.sleep(next(seconds))
        with submitting(root):
            limit = _submit(submission, study, missing)
    if site.cluster == "local" and not study.is_complete(root):
        last = outcomes(root, conclusion(study))
        raise StageFailed(
            last[-1].message if last else f"{conclusion(study)}: no word; see {root / 'jobs'}"
        )


def _prepared(root: Path, site: Site, umask: int) -> Submission:
    """Return a submission without jobs: of the code as it is now, and of the
    environment that its jobs inherit.
    """
    code = snapshot(root)
    if names := set_aside():
        say(f"{', '.join(names)}: the jobs do without, as the site file says what they get")
    os.environ.update(PROCESS_ENVIRONMENT | os.environ)
    os.environ.update({**site.variables, **code_environment(code)})
    submission = Submission(
        root, site, code, python(code, umask, site.python), excluded=nodes.failing(root)
    )
    if submission.excluded:
        say(f"jobs died twice on {', '.join(submission.excluded)}: new ones do not go there")
    return submission


def _submit(
    submission: Submission, study: Study, missing: Sequence[StageConfig]
) -> SubmitLimit | None:
    """Submit what is missing and has no job yet, in the order of the study.

    Return the limit at which the site takes no more for now, if it came to that.
    """
    root = submission.root
    submission.jobs.clear()
    submission.known = answers.queued(entries(study, root))
    try:
        for config in missing:
            # its job may have ended since `missing` was listed: it is not alive
            if config.has_job and not config.is_complete(root):
                _submit_stage(submission, config)
        _submit_conclusion(submission, study)
    except SubmitLimit as limit:
        return limit
    return None


def _submit_conclusion(submission: Submission, study: Study) -> None:
    everything = [job for jobs in submission.jobs.values() for job in jobs]
    order = Order(
        name=conclusion(study),
        kind="conclude",
        content=study.model_dump(mode="json"),
        **submission.site.patience,
    )
    waiting = find(submission.root, order.name)
    if waiting and submission.alive(order.name) and submission.new:  # it waits for earlier jobs
        answers.cancel([waiting])
        submission.known = {}
    submission.add(order, submission.site.report.but(**ONE_RANK), after=(), after_any=everything)


def _refuse_vain_wait(submission: Submission, limit: SubmitLimit) -> None:
    """Tell the user that the rest follows.

    Raises:
        InputError: only jobs of the user count, and none is there that could end.
    """
    is_here = not any(submission.site.granted(kind).clusters for kind in KINDS)
    if limit.is_own and is_here and not any(job.is_alive for job in queue.mine().values()):
        raise InputError(
            f"--site: it takes no job of ours ({limit}); see account,"
            " qos and partition of the site file"
        )
    say(
        f"the site takes no more now ({limit}); this command submits the rest as jobs end, and goes"
        " on from there after Ctrl-C"
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
    name = order_name(config)
    if site.cluster == "slurm" and name in submission.new and not submission.alive(name):
        if not any(outcome.state == "done" for outcome in outcomes(root, name)):
            submission.failed.add(config.hash)
        return  # its files may be seen here later than its word
    resources = site.granted(config.stage)
    after = [job for source in config.inputs for job in submission.jobs.get(source.hash, [])]
    content = config.model_dump(mode="json")
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
        if part.name not in submission.new:
            array = submission.add_array(part, resources, after)
        elif (alive := submission.alive(part.name)) is not None:
            array = [alive]
    order = Order(name=name, kind=kind, content=content, **site.patience)
    submission.jobs[config.hash] = [submission.add(order, resources, after, after_any=array)]
    if site.cluster == "local" and not config.is_complete(root):
        submission.failed.add(config.hash)
        last = outcomes(root, name)
        say(f"{name}: failed: {last[-1].message if last else f'no word; see {root}/jobs'}")
