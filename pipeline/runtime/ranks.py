"""Processes that share a stage on this machine: one per GPU, or one single-threaded per CPU core."""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline.errors import Bug, ExpectedError, StageEnded, StageFailed, of_file
from pipeline.runtime import fork_server
from pipeline.runtime.environment import PROCESS_ENVIRONMENT, num_cores
from pipeline.runtime.signals import end_forwarded

GRACE_SECONDS = 15.0  # ours: for the other ranks to end by themselves, once one has
END_SECONDS = 5.0  # ours: to save, when they are asked to end


@cache
def num_local() -> int:
    """How many ranks this machine serves: its GPUs, or else its cores. A fork counts them, as that takes torch."""
    context = fork_server.forks()
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_count_gpus, args=(dict(os.environ), writer))
    process.start()
    writer.close()
    try:
        found: int = reader.recv()
    except EOFError:
        raise StageFailed("the process that counts this machine's GPUs died; --processes N does without it") from None
    process.join()
    return found or num_cores()


def _count_gpus(variables: Mapping[str, str], writer: Connection) -> None:
    fork_server.begin(variables)
    import torch  # late: the process that launches ranks does without

    writer.send(torch.cuda.device_count())


def launch(function: Callable[..., object], num_ranks: int, *arguments: Any) -> None:
    """Run `function(*arguments)` in `num_ranks` new processes of this machine and wait for all.

    If this process dies, so do they; if one of them fails, the others are ended; SIGTERM and SIGUSR2 are passed on to them.

    Raises:
        ExpectedError: a rank raised it, of whatever kind; StageEnded: they were asked to end, and did.
        StageFailed: a rank was killed, or could not read or write a file.
        Bug: a rank raised anything else.
    """
    context = fork_server.forks()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    world |= {"WORLD_SIZE": str(num_ranks), "LOCAL_WORLD_SIZE": str(num_ranks)}
    processes: list[BaseProcess] = []
    readers: list[Connection] = []
    try:
        for rank in range(num_ranks):
            variables = {**PROCESS_ENVIRONMENT, **os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            reader, writer = context.Pipe(duplex=False)
            processes.append(context.Process(target=_rank, args=(variables, function, arguments, writer)))
            processes[-1].start()
            writer.close()
            readers.append(reader)
        with end_forwarded([process.pid or 0 for process in processes]) as notice:
            codes, errors = _wait(processes, readers)
    finally:
        _end(processes)
    if notice.signal and codes[0] in (-notice.signal, 128 + notice.signal):  # another may have failed for want of the first
        raise StageEnded(f"{notice.signal.name}: the ranks have ended, with nothing half-done")
    if any(codes):
        raise _cause(errors, codes)


def _rank(variables: Mapping[str, str], function: Callable[..., object], arguments: Any, errors: Connection) -> None:
    fork_server.begin(variables)
    try:
        function(*arguments)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except ExpectedError as error:
        errors.send(error)
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        errors.send(of_file(error))
        raise SystemExit(StageFailed.exit_code) from None
    except Exception:
        errors.send(Bug(traceback.format_exc()))
        raise SystemExit(StageFailed.exit_code) from None
    finally:
        if (joined := sys.modules.get("pipeline.runtime.process_group")) is not None:
            joined.leave()


def _wait(processes: Sequence[BaseProcess], readers: list[Connection]) -> tuple[list[int], list[Exception]]:
    """Until all have ended; once one has failed, the others have some seconds to do so by themselves. Returns their exit codes,
    0 of those that have not ended then, and the errors that they sent, in the order of their coming."""
    deadline = None
    errors: list[Exception] = []
    while alive := [process for process in processes if process.is_alive()]:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            break
        for ready in connection.wait([*(process.sentinel for process in alive), *readers], left):
            if isinstance(ready, Connection):
                errors += _read(ready, readers)
        if deadline is None and any(process.exitcode for process in processes):
            deadline = time.monotonic() + GRACE_SECONDS
    for reader in list(readers):
        errors += _read(reader, readers)
    return [process.exitcode or 0 for process in processes], errors


def _read(reader: Connection, readers: list[Connection]) -> list[Exception]:
    """What a rank has sent, if anything; a reader that has come to its end is struck off."""
    try:
        return [reader.recv()] if reader.poll() else []
    except (EOFError, OSError):
        readers.remove(reader)
        return []


def _end(processes: Sequence[BaseProcess]) -> None:
    """Those that are left: asked to, which lets the first one save, and then made to."""
    deadline = time.monotonic() + END_SECONDS
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _cause(errors: Sequence[Exception], codes: Sequence[int]) -> Exception:
    """What to say of ranks that failed: a rank that fails for want of another says less than that one."""
    for error in errors:
        if isinstance(error, ExpectedError):
            return error
    for rank, code in enumerate(codes):
        if code == -signal.SIGKILL and len(errors) < sum(map(bool, codes)):
            return StageFailed(f"rank {rank} was killed (SIGKILL); it may have wanted more memory than there is")
    return errors[0] if errors else StageFailed(f"the ranks ended without a word, with exit codes {', '.join(map(str, codes))}")
