"""The notes in jobs/: what was submitted for each artefact, and how it ended.

They are plain JSON; no result travels in a pickle.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from pipeline.configs.base import Frozen, StageConfig
from pipeline.configs.study import STAGES, Study
from pipeline.errors import NO_INPUT, InputError, of_file
from pipeline.runtime import disk
from pipeline.runtime.environment import users_umask
from pipeline.runtime.private import private_folder
from slurm.queue import Queued
from slurm.use import Use

NAME = r"^[a-z]+-[A-Za-z0-9._-]{1,90}$"


class Order(Frozen):
    """What a job must do: make an artefact, or conclude a study.

    If `num_parts` is above 1, the job makes a share of the artefact.
    """

    name: str = Field(pattern=NAME)
    kind: Literal["prepare", "train", "evaluate", "conclude"]
    content: dict[str, Any]
    num_parts: int = Field(default=1, ge=1)
    max_retries: int = Field(default=0, ge=0)
    max_node_failures: int = Field(default=10, ge=0)

    @property
    def config(self) -> StageConfig:
        """The artefact's config."""
        return STAGES[self.kind].model_validate(self.content)

    @property
    def study(self) -> Study:
        """The study to conclude."""
        return Study.model_validate(self.content)


class Entry(Frozen):
    """A submitted order and its job, which is an array if `num_parts` is above 1.

    `on` is the cluster that took it, if it is another than the usual one.
    """

    name: str = Field(pattern=NAME)
    cluster: Literal["local", "slurm"]
    job_id: str = Field(pattern=r"^[0-9]+$")
    num_parts: int = 1
    code: str
    submitted_at: str
    on: str = Field(default="", pattern=r"^[A-Za-z0-9._-]*$")

    def jobs(self, known: Mapping[str, Queued]) -> list[Queued]:
        """Return the order's jobs among those that SLURM knows.

        A job must match by id and by name, because another cluster reuses ids.
        """
        return [
            job
            for job_id, job in known.items()
            if job_id.split("_")[0] == self.job_id and job.name == self.name[:64]
        ]

    def logs(self, root: Path) -> list[Path]:
        """Return the log files that the job's ranks have written so far.

        Files that end in .err hold errors and the messages of stages.
        """
        folder = root / "jobs"
        return sorted(
            [*folder.glob(f"{self.job_id}_*_log.*"), *folder.glob(f"{self.job_id}_log.*")]
        )


State = Literal["done", "failed", "retried"]
Kind = Literal["", "input", "passing", "failure"]


class Outcome(Frozen):
    """How the last attempt of a job ended.

    `kind` is the cause of a failure: `input` is a wrong input of the user, `passing` a
    transient failure, `failure` any other.
    """

    state: State
    kind: Kind = ""
    message: str = ""
    job_id: str = ""
    node: str = ""
    attempt: int = 0
    retries: int = 0
    use: Use | None = None


def order_name(config: StageConfig) -> str:
    """Return the name under which an artefact's job is noted."""
    return f"{config.stage}-{config.hash}"


def conclusion(study: Study) -> str:
    """Return the name under which a study's last job is noted."""
    return f"conclude-{study.hash}"


def names(study: Study) -> list[str]:
    """Return all names under which jobs of a study may be noted, inputs first."""
    order_names = []
    for config in study.stages:
        if config.has_parts:
            order_names.append(f"part-{config.hash}")
        if config.has_job:
            order_names.append(order_name(config))
    return [*order_names, conclusion(study)]


def entries(study: Study, root: Path) -> list[Entry]:
    """Return the submitted orders of a study, inputs first."""
    return [entry for name in names(study) if (entry := find(root, name)) is not None]


def write_order(root: Path, order: Order) -> Path:
    """Write an order, and return its path; a job's pickle holds only this path."""
    path = root / "jobs" / f"{order.name}.order.json"
    disk.write_atomic(path, order.model_dump_json(indent=1).encode())
    return path


def read_order(path: Path) -> Order:
    """Read an order."""
    return Order.model_validate_json(path.read_text())


def forget(root: Path, name: str) -> None:
    """Forget how an earlier job of a name ended."""
    for path in [*_outcome_paths(root, name), *(root / "jobs").glob(f"{name}.*retry")]:
        path.unlink(missing_ok=True)


def record(
    root: Path,
    name: str,
    cluster: Literal["local", "slurm"],
    job_id: str,
    num_parts: int,
    code: str,
    on: str = "",
) -> Entry:
    """Note that an order was submitted."""
    entry = Entry(
        name=name,
        cluster=cluster,
        job_id=job_id,
        num_parts=num_parts,
        code=code,
        submitted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        on=on,
    )
    disk.write_atomic(root / "jobs" / f"{name}.job.json", entry.model_dump_json(indent=1).encode())
    return entry


def find(root: Path, name: str) -> Entry | None:
    """Return what was submitted under a name; None if nothing was.

    A damaged note counts as nothing.
    """
    try:
        return Entry.model_validate_json((root / "jobs" / f"{name}.job.json").read_text())
    except (OSError, ValidationError):
        return None


def write_outcome(root: Path, name: str, outcome: Outcome) -> None:
    """Note how a job (`name`, or `name.k` of an array) ended.

    A lost attempt that still runs cannot overwrite the note of a later attempt.
    """
    earlier = outcome_of(root, name)
    if earlier is not None and earlier.attempt > outcome.attempt:
        return
    disk.write_atomic(
        root / "jobs" / f"{name}.outcome.json", outcome.model_dump_json(indent=1).encode()
    )


def outcome_of(root: Path, name: str) -> Outcome | None:
    """Return how a job (`name`, or `name.k` of an array) ended; None without a note."""
    try:
        return Outcome.model_validate(
            json.loads((root / "jobs" / f"{name}.outcome.json").read_text())
        )
    except (OSError, ValueError):
        return None


def outcomes(root: Path, name: str) -> list[Outcome]:
    """Return the noted ends of the jobs under a name, also of an array's jobs."""
    names = [path.name.removesuffix(".outcome.json") for path in _outcome_paths(root, name)]
    return [outcome for each in names if (outcome := outcome_of(root, each)) is not None]


def _outcome_paths(root: Path, name: str) -> list[Path]:
    folder = root / "jobs"
    return sorted(
        [*folder.glob(f"{name}.outcome.json"), *folder.glob(f"{name}.[0-9]*.outcome.json")]
    )


@contextmanager
def submitting(root: Path) -> Iterator[int]:
    """Let only one command submit at a time, within the block; yield the user's umask.

    The next command waits, and then sees the jobs of this one. Others cannot write to
    files that are written within the block. The jobs' own files get the user's umask.

    Raises:
        InputError: others can write to `root`/jobs, or replace it.
    """
    folder = private_folder(root / "jobs")
    before = users_umask()
    os.umask(before | 0o022)
    descriptor = os.open(folder / ".submitting", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield before
    except OSError as error:
        failure = of_file(error, folder)
        raise (failure if error.errno in NO_INPUT else InputError(str(failure))) from None
    finally:
        os.close(descriptor)
        os.umask(before)
