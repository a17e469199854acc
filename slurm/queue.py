"""What SLURM says about jobs: squeue, sacct where there is accounting, scancel,
scontrol.
"""

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
    """One job as SLURM sees it. `reason` says why it waits or ended, `nodes` where it
    runs, `left` how long it may.
    """

    name: str
    state: str
    reason: str = ""
    nodes: str = ""
    left: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it runs or will."""
        return self.state in ALIVE and self.reason != "DependencyNeverSatisfied"


def jobs(job_ids: Sequence[str]) -> dict[str, Queued]:
    """What is known of jobs, by id; an array's jobs as `<id>_<number>`. Those that
    SLURM has forgotten are left out.

    Raises:
        InputError: SLURM's commands are not there, or do not answer.
    """
    wanted = set(job_ids)
    if not wanted:
        return {}
    form = "%i|%j|%T|%r|%N|%L"
    listed = _lines(["squeue", "--me", "--states=all", "--array", "--noheader", f"--format={form}"])
    found = {}
    for line in listed:
        job_id, name, state, reason, nodes, left = [*line.split("|"), *[""] * 6][:6]
        if job_id.split("_")[0] in wanted:
            found[job_id] = Queued(name, state, "" if reason == "None" else reason, nodes, left)
    forgotten = wanted - {job_id.split("_")[0] for job_id in found}
    if forgotten and shutil.which("sacct"):
        found |= _accounted(sorted(forgotten))
    return found


def _accounted(job_ids: Sequence[str]) -> dict[str, Queued]:
    """Of finished jobs, where the cluster keeps accounts; nothing where it does not."""
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
    found = {}
    for line in answer.stdout.splitlines() if answer.returncode == 0 else ():
        job_id, name, state, nodes = [*line.split("|"), *[""] * 4][:4]
        found[job_id] = Queued(name, state.split()[0] if state else "UNKNOWN", "", nodes)
    return found


def cancel(job_ids: Sequence[str]) -> None:
    """End jobs, those that wait first."""
    if job_ids:
        _lines(["scancel", *job_ids])


def down(nodes: Sequence[str]) -> list[str]:
    """Those of some nodes that SLURM cannot use now, or does not hear from."""
    listed = (
        _lines(["sinfo", "--noheader", "--Node", f"--nodes={','.join(nodes)}", "--format=%N|%T"])
        if nodes
        else []
    )
    states = dict(line.split("|")[:2] for line in listed)
    return sorted(
        node
        for node, state in states.items()
        if state.endswith("*") or state.startswith(("down", "fail", "drain"))
    )


def expand(nodes: str) -> list[str]:
    """The nodes of a list such as SLURM writes it, `node[1-3,7]`."""
    return _lines(["scontrol", "show", "hostnames", nodes]) if nodes else []


def restarts(job_id: str) -> int:
    """How often a job has been requeued so far."""
    found = re.search(r"\bRestarts=(\d+)", "\n".join(_lines(["scontrol", "show", "job", job_id])))
    return int(found[1]) if found else 0


def requeue(job_id: str) -> None:
    """Have a running job of ours run again."""
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
        said = (answer.stderr.strip() or "no message").splitlines()[0]
        raise InputError(f"{command[0]}: {said}")
    return answer.stdout.splitlines()
