"""Processes that share a stage on this machine: one per GPU, or one single-threaded per CPU core."""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline.adapters import fork_server
from pipeline.adapters.environment import PROCESS_ENVIRONMENT, num_cores
from pipeline.adapters.signals import end_forwarded
from pipeline.errors import Bug, ExpectedError, StageEnded, StageFailed, of_file

GRACE_SECONDS = 15.0  # ours: for the other ranks to end by themselves, once one has


@cache
def num_local() -> int:
    """How many ranks this machine serves: its GPUs, or else its cores. A fork counts them, as that takes torch."""
    with ProcessPoolExecutor(1, fork_server.forks(), fork_server.begin, (dict(os.environ),)) as executor:
        return executor.submit(_num_gpus).result() or num_cores()


def _num_gpus() -> int:
    import torch  # late: the process that launches ranks does without

    return torch.cuda.device_count()


def launch(function: Callable[..., object], num_ranks: int, *arguments: Any) -> None:
    """Run `function(*arguments)` in `num_ranks` new processes of this machine and wait for all.

    If this process dies, so do they; if one of them fails, the others are ended; SIGTERM and SIGUSR2 are passed on to them.

    Raises:
        ExpectedError: a rank raised it, of whatever kind; StageEnded: they were asked to end, and did.
        StageFailed: a rank was killed, or could not read or write a file.
        Bug: a rank raised anything else.
    """
    context = fork_server.forks(function.__module__)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    world |= {"WORLD_SIZE": str(num_ranks), "LOCAL_WORLD_SIZE": str(num_ranks)}
    errors = context.SimpleQueue()
    processes: list[BaseProcess] = []
    try:
        for rank in range(num_ranks):
            variables = {**PROCESS_ENVIRONMENT, **os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            processes.append(context.Process(target=_rank, args=(variables, function, arguments, errors)))
            processes[-1].start()
        with end_forwarded([process.pid or 0 for process in processes]) as notice:
            codes = _wait(processes)
    finally:
        _end(processes)
    if notice.signal and codes[0] in (-notice.signal, 128 + notice.signal):  # another may have failed for want of the first
        raise StageEnded(f"{notice.signal.name}: the ranks have ended, with nothing half-done")
    said = []
    while not errors.empty():
        said.append(errors.get())
    if any(codes):
        raise _cause(said, codes)


def _rank(variables: Mapping[str, str], function: Callable[..., object], arguments: tuple[Any, ...], errors: Any) -> None:
    fork_server.begin(variables)
    try:
        function(*arguments)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except ExpectedError as error:
        errors.put(error)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        errors.put(of_file(error))
        raise SystemExit(StageFailed.exit_code) from None
    except Exception:
        errors.put(Bug(traceback.format_exc()))
        raise SystemExit(StageFailed.exit_code) from None
    finally:
        if (joined := sys.modules.get("pipeline.adapters.process_group")) is not None:
            joined.leave()


def _wait(processes: Sequence[BaseProcess]) -> list[int]:
    """Until all have ended; once one has failed, the others have some seconds to do so by themselves. Their exit codes, 0 of
    those that have not ended then."""
    deadline = None
    while alive := [process for process in processes if process.is_alive()]:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            break
        connection.wait([process.sentinel for process in alive], left)
        if deadline is None and any(process.exitcode for process in processes):
            deadline = time.monotonic() + GRACE_SECONDS
    return [process.exitcode or 0 for process in processes]


def _end(processes: Sequence[BaseProcess]) -> None:
    """Those that are left."""
    for process in processes:
        if process.is_alive():
            process.kill()
        process.join()


def _cause(said: Sequence[Exception], codes: Sequence[int]) -> Exception:
    """What to say of ranks that failed: a rank that fails for want of another says less than that one."""
    for error in said:
        if isinstance(error, ExpectedError):
            return error
    for rank, code in enumerate(codes):
        if code == -signal.SIGKILL and len(said) < sum(map(bool, codes)):
            return StageFailed(f"rank {rank} was killed (SIGKILL); it may have wanted more memory than there is")
    return said[0] if said else StageFailed(f"the ranks ended without a word, with exit codes {', '.join(map(str, codes))}")
