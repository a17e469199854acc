"""sbatch, as submitit is to call it.

It sees the variables of a login node, and a full queue is an answer at once: sbatch
itself would try again for two minutes.
"""

import re
import subprocess
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from submitit.core import utils

from slurm.variables import ACCOUNT, of_login_node

# of src/common/slurm_protocol_defs.c and slurm_errno.c: AssocMaxSubmitJobLimit,
# AssocGrpSubmitJobsLimit, QOSMaxSubmitJobPerUserLimit, MaxSubmitJobsPerAccount
SUBMIT_LIMIT = re.compile(r"\b\w*Submit(?:Job)\w*\b")
ANY_LIMIT = re.compile(r"\b(?:Assoc|QOS)\w+\b|\b\w+Limit\b")
POLICY = "job submit limit"  # of any limit, also of those that no waiting helps
FULL = "temporarily unavailable"
ARRAY = "Invalid job array specification"
RETRIES = "retrying"


class SubmitLimit(RuntimeError):
    """sbatch takes no such job as long as others are in the queue.

    `is_own` says whether only jobs of the user, or of the account, count.
    """

    def __init__(self, reason: str, is_own: bool, is_size: bool = False):
        super().__init__(reason)
        self.is_own, self.is_size = is_own, is_size


class Sbatch:
    """A call of sbatch, in the form of submitit's `CommandFunction`.

    The variables of `kept` are passed on, whatever their names. Unless the script names
    an account, so is the user's own. What sbatch answers is added to `answers`.
    """

    def __init__(
        self, command: Sequence[str], verbose: bool, kept: Collection[str], answers: list[str]
    ):
        self.command, self.kept, self.answers = list(command), kept, answers

    def __call__(self) -> str:
        """Submit a script, and return sbatch's answer.

        Raises:
            SubmitLimit: a limit on the number of jobs is reached.
            RuntimeError: the site does not take the job; the message is sbatch's.
        """
        script = Path(self.command[-1])
        has_account = "#SBATCH --account=" in script.read_text()
        process = subprocess.Popen(
            self.command,
            env=of_login_node(also={*self.kept, *(() if has_account else (ACCOUNT,))}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        lines: list[str] = []
        with process:
            for line in process.stderr or ():
                lines.append(line.strip())
                if RETRIES in line:  # it sleeps now, and nothing is submitted
                    process.terminate()
            answer = process.stdout.read() if process.stdout else ""
        if process.returncode == 0:
            self.answers.append(answer)
            return answer
        script.unlink()
        raise refusal("\n".join(lines) or f"sbatch ended with {process.returncode}")


def refusal(text: str) -> RuntimeError:
    """Return the error of what sbatch wrote.

    >>> refusal("sbatch: error: QOSMaxSubmitJobPerUserLimit")
    SubmitLimit('QOSMaxSubmitJobPerUserLimit')
    >>> refusal("sbatch: error: QOSMaxWallDurationPerJobLimit")
    RuntimeError('sbatch: error: QOSMaxWallDurationPerJobLimit')
    """
    if match := SUBMIT_LIMIT.search(text):
        return SubmitLimit(match[0], is_own="Grp" not in match[0])
    if RETRIES in text or FULL in text:
        return SubmitLimit("the queue is full", is_own=False)
    if ARRAY in text:
        return SubmitLimit("MaxArraySize", is_own=True, is_size=True)
    if POLICY in text and not ANY_LIMIT.search(text):
        return SubmitLimit(POLICY, is_own=True)
    return RuntimeError(text)


@contextmanager
def own_sbatch(kept: Collection[str]) -> Iterator[list[str]]:
    """Let submitit call sbatch so within the block, and yield what it answers."""
    answers: list[str] = []
    before = utils.CommandFunction
    utils.CommandFunction = partial(Sbatch, kept=kept, answers=answers)  # type: ignore[misc, assignment]
    try:
        yield answers
    finally:
        utils.CommandFunction = before  # type: ignore[misc]


def cluster_of(answers: Sequence[str]) -> str:
    """Return the cluster that took the last job; nothing if it is the usual one.

    >>> cluster_of(["Submitted batch job 7 on cluster alpha"]), cluster_of([])
    ('alpha', '')
    """
    match = re.search(r"on cluster (\S+)", answers[-1]) if answers else None
    return match[1] if match else ""
