"""Ask SLURM about jobs: squeue, sacct where there is accounting, scancel, scontrol.

Only text in formats of our own is read: squeue, sacct and scontrol have given it alike
since 20.11, while their JSON changes with each version and needs a plug-in.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pipeline.errors import InputError
from slurm import states
from slurm.variables import of_login_node

SECONDS = 60  # ours: a busy controller answers late
PATIENCE = 20  # ours: squeue may fail so often in a row while a command waits
NO_TIME = {"INVALID", "NOT_SET", "N/A"}
CLUSTER = "CLUSTER:"  # the line before the answer of each of several clusters


class Queued(NamedTuple):
    """One job as SLURM sees it.

    `reason` says why it waits or ended, `nodes` where it runs, and `left` how much time
    it has left.
    """

    name: str
    state: str
    reason: str = ""
    nodes: str = ""
    left: str = ""
    is_queued: bool = True  # accounting may still show a job that the queue has lost

    @property
    def is_alive(self) -> bool:
        """Whether the job runs or will run."""
        return (
            self.is_queued
            and not states.has_ended(self.state)
            and self.reason != "DependencyNeverSatisfied"
        )


def jobs(job_ids: Sequence[str], cluster: str = "") -> dict[str, Queued]:
    """Return what the queue knows of jobs, by id; jobs that it forgot are left out.

    The ids of an array's jobs are `<id>_<number>`, and `<id>_[<numbers>]` while they
    wait. `cluster` is the name of another one than the usual.

    Raises:
        InputError: SLURM's commands are missing, or do not answer.
    """
    ids = set(job_ids)
    if not ids:
        return {}
    return {job_id: job for job_id, job in mine(cluster).items() if job_id.split("_")[0] in ids}


def mine(cluster: str = "") -> dict[str, Queued]:
    """Return what the queue knows of all jobs of the user, by id.

    `--states=all` shows those that ended a short time ago, too: squeue chooses among
    what the controller sends, so that it costs no further question.
    """
    # the name comes last, as another's may hold the sign between fields
    form = "--format=%i|%T|%r|%N|%L|%j"
    options = ["--me", "--all", "--states=all", "--noheader", *_at(cluster)]
    lines = _lines(["squeue", *options, form])
    known = {}
    for line in lines:
        job_id, state, reason, nodes, left, name = [*line.split("|", 5), *[""] * 6][:6]
        known[job_id.strip()] = Queued(
            name.strip(),
            states.plain(state),
            "" if reason == "None" else reason,
            nodes,
            "" if left in NO_TIME else left,
        )
    return known


def ended(job_ids: Sequence[str], cluster: str = "") -> dict[str, Queued]:
    """Return what the cluster's accounting knows of jobs, if it keeps any."""
    if not job_ids or not shutil.which("sacct"):
        return {}
    command = [
        *("sacct", "--noheader", "--parsable2", "--allocations", *_at(cluster)),
        "--format=JobID,State,NodeList,JobName%100",
        f"--jobs={','.join(sorted(job_ids))}",
    ]
    try:
        lines = _lines(command)
    except InputError:
        return {}
    known = {}
    for line in lines:
        job_id, state, nodes, name = [*line.split("|", 3), *[""] * 4][:4]
        known[job_id] = Queued(name, states.plain(state), "", nodes, is_queued=False)
    return known


def wait_for(
    job_id: str, pauses: Iterator[float], sleep: Callable[[float], None], cluster: str = ""
) -> None:
    """Return when a job has ended. A controller that restarts is asked again."""
    problems = 0
    while True:
        try:
            if not any(job.is_alive for job in jobs([job_id], cluster).values()):
                return
            problems = 0
        except InputError:
            problems += 1
            if problems > PATIENCE:
                raise
        sleep(next(pauses))


def cancel(job_ids: Sequence[str], cluster: str = "") -> None:
    """End jobs, those that wait first."""
    if job_ids:
        _lines(["scancel", *_at(cluster), *job_ids])


def down(nodes: Sequence[str]) -> list[str]:
    """Return those of the nodes that SLURM cannot use now or gets no answer from."""
    lines = (
        _lines(["sinfo", "--noheader", "--Node", f"--nodes={','.join(nodes)}", "--format=%N|%T"])
        if nodes
        else []
    )
    known = dict(line.split("|")[:2] for line in lines)
    return sorted(
        node
        for node, state in known.items()
        if state.endswith("*") or state.startswith(("down", "fail", "drain", "inval"))
    )


def expand(nodes: str) -> list[str]:
    """Return the nodes of a list in SLURM's form, such as `node[1-3,7]`."""
    return _lines(["scontrol", "show", "hostnames", nodes]) if nodes else []


def restarts(job_id: str) -> int | None:
    """Return how often a job has been requeued; None where SLURM does not say."""
    match = re.search(r"\bRestarts=(\d+)", "\n".join(_lines(["scontrol", "show", "job", job_id])))
    return int(match[1]) if match else None


def max_array_size() -> int | None:
    """Return how many jobs an array may have; None where SLURM does not say."""
    try:
        text = "\n".join(_lines(["scontrol", "show", "config"]))
    except InputError:
        return None
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
    return int(match[1]) if match else None


def requeue(job_id: str) -> None:
    """Requeue a running job of ours."""
    _lines(["scontrol", "requeue", job_id])


def _at(cluster: str) -> list[str]:
    return [f"--clusters={cluster}"] if cluster else []


def _lines(command: list[str]) -> list[str]:
    try:
        answer = subprocess.run(
            command,
            env=of_login_node(),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
    except OSError:
        raise InputError(
            f"{command[0]}: is not on the PATH; a site of cluster slurm needs SLURM's commands"
        ) from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{command[0]}: no answer within {SECONDS} s") from None
    if answer.returncode:
        message = (answer.stderr.strip() or "no message").splitlines()[0]
        raise InputError(f"{command[0]}: {message}")
    return [line for line in answer.stdout.splitlines() if line and not line.startswith(CLUSTER)]
