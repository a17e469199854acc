"""A job: what each of its ranks runs on its node."""

import os
import socket
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import submitit

from pipeline.errors import ExpectedError, InputError, StageFailed, first_line, of_file
from pipeline.runtime import disk, file_system
from pipeline.stages import run_part, run_stage
from pipeline.tracking.alert import alert
from slurm import nodes, queue
from slurm.begin import disregard, listen
from slurm.conclude import conclude
from slurm.errand import join_ranks
from slurm.ledger import Kind, Order, Outcome, State, outcome_of, read_order, write_outcome
from slurm.use import Meter

TRANSIENT = (
    "connection closed",
    "connection reset",
    "timed out",
    "stale file handle",
    "nccl",
    "socket",
    "gloo",
)
WORD_SECONDS = 3.0  # ours: the rank that failed first may say why before the others decide


class OrderedJob:
    """Carries out an order; a requeue calls it again.

    It holds only two paths, because submitit pickles it.
    """

    def __init__(self, order: str, root: str):
        self.order, self.root = order, root

    def __call__(self) -> None:
        listen()
        carry_out(read_order(Path(self.order)), Path(self.root), join_ranks())
        disregard()

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Return what runs after a time limit or a preemption: the same order.

        The next attempt goes on from the files on the disk.
        """
        with suppress(OSError):
            nodes.note_pause(Path(self.root), _job_name(read_order(Path(self.order))), _attempt())
        return submitit.helpers.DelayedSubmission(OrderedJob(self.order, self.root))


def carry_out(order: Order, root: Path, rank: int) -> None:
    """Do what an order says, and note how it ended.

    After a transient failure the job is requeued, a limited number of times.
    """
    attempt = Attempt.of(order, root)
    try:
        if rank == 0 and _job_id():
            _note_nodes(order, root, attempt.name, attempt.number)
        _do(order, root, _part(order))
        if rank == 0:
            attempt.say("done")
    except ExpectedError as error:
        attempt.fail(
            "input" if isinstance(error, InputError) else "failure", str(error), error.exit_code
        )
    except Exception as error:
        message = str(of_file(error)) if isinstance(error, OSError) else first_line(error)
        if is_transient(error):
            attempt.try_again(message)
        if not isinstance(error, OSError):
            traceback.print_exc()
            message = f"a mistake of ours: {message}; please report it with this log"
        attempt.fail("failure", message)


@dataclass(frozen=True)
class Attempt:
    """One attempt to carry out an order: its job, and how it ends."""

    order: Order
    root: Path
    name: str
    number: int
    retries: int  # so far, of all attempts
    meter: Meter = field(default_factory=Meter)

    @classmethod
    def of(cls, order: Order, root: Path) -> "Attempt":
        """Return the attempt that this process is part of."""
        name = _job_name(order)
        earlier = outcome_of(root, name)
        return cls(order, root, name, _attempt(), earlier.retries if earlier else 0)

    def say(self, state: State, kind: Kind = "", message: str = "", more_retries: int = 0) -> None:
        """Note how the attempt ended."""
        node = os.environ.get("SLURMD_NODENAME", socket.gethostname())
        use = self.meter.read()
        if _job_id():
            print(f"{self.name}: {use.in_words()}", file=sys.stderr, flush=True)
        outcome = Outcome(
            state=state,
            kind=kind,
            message=message,
            job_id=_job_id(),
            node=node,
            attempt=self.number,
            retries=self.retries + more_retries,
            use=use,
        )
        with suppress(OSError):  # the disk may be what failed
            write_outcome(self.root, self.name, outcome)
        if self.order.kind == "conclude" and state != "retried":
            alert(self.order.study, self.root, message)

    def fail(self, kind: Kind, message: str, code: int = StageFailed.exit_code) -> NoReturn:
        """Note a failure, and end for good."""
        self.say("failed", kind, message)
        _end(message, code)

    def try_again(self, message: str) -> NoReturn:
        """Requeue the job, and end.

        The job is not requeued if another rank failed for good, or after too many
        attempts.
        """
        time.sleep(WORD_SECONDS)
        earlier = outcome_of(self.root, self.name)
        if earlier is not None and earlier.state == "failed" and earlier.attempt == self.number:
            _end(message, StageFailed.exit_code)
        if self.retries >= self.order.max_retries or not _job_id():
            self.fail("passing", f"{message} (tried {self.retries + 1} times)")
        if not disk.publish(self.root / "jobs" / f"{self.name}.{self.number}.retry", b""):
            _end(message, StageFailed.exit_code)  # another rank requeues the job
        self.say("retried", "passing", message, more_retries=1)
        with suppress(OSError):
            nodes.note_pause(self.root, self.name, self.number)
        try:
            # otherwise this is a lost attempt of a job that already runs again
            if queue.restarts(_job_id()) in (self.number, None):
                queue.requeue(_job_id())
        except InputError as problem:
            self.say(
                "failed", "passing", f"{message}; it cannot be requeued: {problem}", more_retries=1
            )
        _end(message, StageFailed.exit_code)


def _note_nodes(order: Order, root: Path, name: str, attempt: int) -> None:
    """Note where this attempt runs, and which nodes of the last attempt are down.

    If SLURM's controller does not answer, the job goes on.
    """
    with suppress(InputError):
        if down := nodes.blame(root, name, attempt):
            print(
                f"going-deeper: {name}: went down with {', '.join(down)}; goes on here",
                file=sys.stderr,
                flush=True,
            )
        nodes.note_start(
            root, name, attempt, queue.expand(os.environ.get("SLURM_JOB_NODELIST", ""))
        )
    if (count := len(nodes.deaths(root, name, attempt))) > order.max_node_failures:
        raise StageFailed(
            f"{name}: died {count} times without a word, as when a node dies; see its logs"
        )


def is_transient(error: Exception) -> bool:
    """Return whether a failure is transient: of a disk, the network or another rank."""
    if isinstance(error, OSError):
        return not isinstance(
            error, FileNotFoundError | PermissionError | NotADirectoryError | IsADirectoryError
        )
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in TRANSIENT)


def _do(order: Order, root: Path, part: int) -> None:
    if order.kind != "conclude":
        # jobs on other nodes have made them, or this job would not have begun
        file_system.wait_for(
            root / source.folder / source.last_file for source in order.config.inputs
        )
    if order.kind == "conclude":
        conclude(order.study, root)
    elif order.num_parts > 1:
        run_part(order.config, root, part, order.num_parts)
    else:
        run_stage(order.config, root)


def _part(order: Order) -> int:
    return int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")) if order.num_parts > 1 else 0


def _job_name(order: Order) -> str:
    return f"{order.name}.{_part(order)}" if order.num_parts > 1 else order.name


def _attempt() -> int:
    return int(os.environ.get("SLURM_RESTART_COUNT", "0")) if _job_id() else 0


def _job_id() -> str:
    """Return the job's id in scontrol's form; an array's job is `<array>_<number>`.

    A local job has none, even inside an allocation.
    """
    if os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return ""
    array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{number}" if array and number else os.environ.get("SLURM_JOB_ID", "")


def _end(message: str, code: int) -> NoReturn:
    print(f"going-deeper: {message}", file=sys.stderr, flush=True)
    # submitit would pickle an exception; and a collective operation may wait for other
    # ranks
    os._exit(code)
