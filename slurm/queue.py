"""Ask SLURM about jobs: squeue, sacct where there is accounting, scancel, scontrol."""

import re
import shutil
import subprocess
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.errors import InputError

ALIVE = frozenset(
    {
        "PENDING",
        "RUNNING",
        "CONFIGURING",
        "COMPLETING",
        "SUSPENDED",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
    }
    | {"RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT"}
)
SECONDS = 60  # ours: a busy controller answers late


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

    @property
    def is_alive(self) -> bool:
        """Whether the job runs or will run."""
        return self.state in ALIVE and self.reason != "DependencyNeverSatisfied"


def jobs(job_ids: Sequence[str]) -> dict[str, Queued]:
    """Return what SLURM knows of jobs, by id; jobs that it forgot are left out.

    The ids of an array's jobs are `<id>_<number>`.

    Raises:
        InputError: SLURM's commands are missing, or do not answer.
    """
    ids = set(job_ids)
    if not ids:
        return {}
    form = "%i|%j|%T|%r|%N|%L"
    lines = _lines(["squeue", "--me", "--states=all", "--array", "--noheader", f"--format={form}"])
    known = {}
    for line in lines:
        job_id, name, state, reason, nodes, left = [*line.split("|"), *[""] * 6][:6]
        if job_id.split("_")[0] in ids:
            known[job_id] = Queued(name, state, "" if reason == "None" else reason, nodes, left)
    others = ids - {job_id.split("_")[0] for job_id in known}
    if others and shutil.which("sacct"):
        known |= _from_accounting(sorted(others))
    return known


def _from_accounting(job_ids: Sequence[str]) -> dict[str, Queued]:
    """Return what the cluster's accounting knows of finished jobs, if it keeps any."""
    command = [
        "sacct",
        "--noheader",
        "--parsable2",
        "--allocations",
        "--format=JobID,JobName%100,State,NodeList",
        f"--jobs={','.join(job_ids)}",
    ]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return {}
    jobs = {}
    for line in answer.stdout.splitlines() if answer.returncode == 0 else ():
        job_id, name, state, nodes = [*line.split("|"), *[""] * 4][:4]
        jobs[job_id] = Queued(name, state.split()[0] if state else "UNKNOWN", "", nodes)
    return jobs


def cancel(job_ids: Sequence[str]) -> None:
    """End jobs, those that wait first."""
    if job_ids:
        _lines(["scancel", *job_ids])


def down(nodes: Sequence[str]) -> list[str]:
    """Return those of the nodes that SLURM cannot use now or gets no answer from."""
    lines = (
        _lines(["sinfo", "--noheader", "--Node", f"--nodes={','.join(nodes)}", "--format=%N|%T"])
        if nodes
        else []
    )
    states = dict(line.split("|")[:2] for line in lines)
    return sorted(
        node
        for node, state in states.items()
        if state.endswith("*") or state.startswith(("down", "fail", "drain"))
    )


def expand(nodes: str) -> list[str]:
    """Return the nodes of a list in SLURM's form, such as `node[1-3,7]`."""
    return _lines(["scontrol", "show", "hostnames", nodes]) if nodes else []


def restarts(job_id: str) -> int:
    """Return how often a job has been requeued so far."""
    match = re.search(r"\bRestarts=(\d+)", "\n".join(_lines(["scontrol", "show", "job", job_id])))
    return int(match[1]) if match else 0


def requeue(job_id: str) -> None:
    """Requeue a running job of ours."""
    _lines(["scontrol", "requeue", job_id])


def _lines(command: list[str]) -> list[str]:
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SECONDS
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
    return answer.stdout.splitlines()
