"""Processes that share a stage on this machine: one per GPU, or one single-threaded per
CPU core.
"""

import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline.errors import Bug, ExpectedError, StageEnded, StageFailed, is_of_file, of_file
from pipeline.runtime import fork_server
from pipeline.runtime.environment import PROCESS_ENVIRONMENT, num_cores
from pipeline.runtime.signals import ENDING, end_forwarded

GRACE_SECONDS = 15.0  # ours: for the other ranks to end by themselves, once one has
END_SECONDS = 10.0  # ours: for the first rank to save, when it is asked to end
SERVER_DIED = 255  # multiprocessing's exit code of a fork whose server is gone


@cache
def num_local() -> int:
    """How many ranks this machine serves: its GPUs, or else its cores. A fork counts
    them, as that takes torch.
    """
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = fork_server.start(_count_gpus, dict(os.environ), writer)
    writer.close()
    try:
        found: int = reader.recv()
    except EOFError:
        raise StageFailed(
            "the process that counts this machine's GPUs died; --processes N does without it"
        ) from None
    process.join()
    return found or num_cores()


def _count_gpus(variables: Mapping[str, str], writer: Connection) -> None:
    fork_server.begin(variables)
    import torch  # late: the process that launches ranks does without

    writer.send(torch.cuda.device_count())


def launch(function: Callable[..., object], num_ranks: int, *arguments: Any) -> None:
    """Run `function(*arguments)` in `num_ranks` new processes of this machine and wait
    for all.

    If this process dies, so do they; if one of them fails, the others are ended;
    SIGTERM and SIGUSR2 are passed on to them.

    Raises:
        ExpectedError: a rank raised it, of whatever kind; StageEnded: they were asked
            to end, and did.
        StageFailed: a rank was killed, or could not read or write a file.
        Bug: a rank raised anything else.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    world = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    world |= {"WORLD_SIZE": str(num_ranks), "LOCAL_WORLD_SIZE": str(num_ranks)}
    processes: list[BaseProcess] = []
    readers: dict[Connection, int] = {}
    try:
        for rank in range(num_ranks):
            variables = {
                **PROCESS_ENVIRONMENT,
                **os.environ,
                **world,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
            }
            reader, writer = multiprocessing.Pipe(duplex=False)
            processes.append(fork_server.start(_rank, variables, function, arguments, writer))
            writer.close()
            readers[reader] = rank
        with end_forwarded([process.pid or 0 for process in processes]):
            codes, errors = _wait(processes, readers)
    finally:
        _end(processes)
    if (ended := _ending(codes[0])) is not None:  # another may have failed for want of the first
        raise StageEnded(f"{ended.name}: the ranks have ended, with nothing half-done")
    if any(codes):
        raise _cause(errors, codes)


def _rank(
    variables: Mapping[str, str],
    function: Callable[..., object],
    arguments: Any,
    errors: Connection,
) -> None:
    fork_server.begin(variables)
    try:
        function(*arguments)
    except Exception as error:
        said = _to_say(error)
        with suppress(OSError):  # nobody listens any more
            errors.send(said)  # before this rank leaves the others, who then fail for want of it
        raise SystemExit(
            said.exit_code if isinstance(said, ExpectedError) else StageFailed.exit_code
        ) from None
    finally:
        if (joined := sys.modules.get("pipeline.runtime.process_group")) is not None:
            joined.leave()


def _to_say(error: Exception) -> ExpectedError | Bug:
    """What the process that launched this rank is to raise."""
    if isinstance(error, ExpectedError):
        return error
    return of_file(error) if is_of_file(error) else Bug(traceback.format_exc())


def _wait(
    processes: Sequence[BaseProcess], readers: dict[Connection, int]
) -> tuple[list[int], list[tuple[int, Exception]]]:
    """Until all have ended; once one has failed, the others have some seconds to do so
    by themselves. Returns their exit codes, 0 of those that have not ended then, and
    the errors that they sent, each with its rank, in the order of their coming.
    """
    deadline = None
    errors: list[tuple[int, Exception]] = []
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


def _read(reader: Connection, readers: dict[Connection, int]) -> list[tuple[int, Exception]]:
    """What a rank has sent, if anything; a reader that has come to its end is struck
    off.
    """
    try:
        return [(readers[reader], reader.recv())] if reader.poll() else []
    except (EOFError, OSError):
        del readers[reader]
        return []


def _end(processes: Sequence[BaseProcess]) -> None:
    """Those that are left: asked to, which lets the first one save, then made to; also
    those whose server is gone.
    """
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes[:1]:
        process.join(END_SECONDS)
    for process in processes:
        if process.is_alive():
            process.kill()
        elif process.exitcode == SERVER_DIED and process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        process.join()


def _ending(code: int) -> signal.Signals | None:
    """The signal that asked a rank to end, if that is why it did."""
    return next((number for number in ENDING if code in (-number, 128 + number)), None)


def _cause(errors: Sequence[tuple[int, Exception]], codes: Sequence[int]) -> Exception:
    """What to say of ranks that failed. One that fails for want of another says less
    than that one, silent or not.
    """
    for _, error in errors:
        if isinstance(error, ExpectedError):
            return error
    if set(codes) == {SERVER_DIED}:
        return StageFailed("the server of the ranks was killed, and they with it")
    speaking = {rank for rank, _ in errors}
    for rank, code in enumerate(codes):
        if code and rank not in speaking:
            why = (
                f"was killed ({signal.Signals(-code).name})"
                if code < 0
                else f"ended with exit code {code}, without a word"
            )
            hint = (
                "; it may have wanted more memory than there is" if code == -signal.SIGKILL else ""
            )
            return StageFailed(f"rank {rank} {why}{hint}")
    return errors[0][1]
