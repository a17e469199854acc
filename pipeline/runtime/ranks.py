"""Ranks: processes of this machine that share a stage.

There is a rank per GPU, or a single-threaded rank per CPU core.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from pipeline.errors import Bug, ExpectedError, StageEnded, StageFailed, is_of_file, of_file
from pipeline.runtime import fork_server
from pipeline.runtime.environment import PROCESS_ENVIRONMENT, num_cores
from pipeline.runtime.ports import on_a_free_port
from pipeline.runtime.signals import ENDING, end_forwarded

GRACE_SECONDS = 15.0  # ours: the other ranks may end by themselves after one has failed
END_SECONDS = 10.0  # ours: the first rank may save after it is asked to end
SERVER_DIED = 255  # multiprocessing's exit code of a fork whose server is gone


class Place(NamedTuple):
    """Where a launch stands among launches that run side by side.

    `alive` gets the ids of its ranks while they run.
    """

    number: int
    places: int
    alive: list[int]


def num_local() -> int:
    """Return how many ranks this machine can run: its GPUs, or else its cores."""
    return num_gpus() or num_cores()


@cache
def num_gpus() -> int:
    """Return how many GPUs this machine has.

    A fork counts them, because that needs torch.
    """
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = fork_server.start(_count_gpus, dict(os.environ), writer)
    writer.close()
    try:
        number: int = reader.recv()
    except EOFError:
        raise StageFailed(
            "the process that counts this machine's GPUs died; run the command again"
        ) from None
    process.join()
    return number


def _count_gpus(variables: Mapping[str, str], writer: Connection) -> None:
    fork_server.begin(variables)
    import torch  # late, because the process that launches ranks needs no torch

    writer.send(torch.cuda.device_count())


def launch(function: Callable[..., object], num_ranks: int, *arguments: Any) -> None:
    """Run `function(*arguments)` in `num_ranks` new processes, and wait for all.

    If this process dies, the ranks die. If one rank fails, the others are ended.
    SIGTERM and SIGUSR2 are passed on to the ranks.

    Raises:
        ExpectedError: a rank raised this error, of whatever kind.
        StageEnded: the ranks were asked to end, and ended.
        StageFailed: a rank was killed, or could not read or write a file.
        Bug: a rank raised any other error.
    """
    launch_at(Place(0, 1, []), function, num_ranks, *arguments)


def launch_at(
    place: Place, function: Callable[..., object], num_ranks: int, *arguments: Any
) -> None:
    """Do what `launch` does, beside the ranks of other launches."""
    on_a_free_port(lambda port: _launch(port, place, function, num_ranks, *arguments))


def _launch(
    port: int, place: Place, function: Callable[..., object], num_ranks: int, *arguments: Any
) -> None:
    world = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_WORLD_SIZE": str(num_ranks * place.places),  # they share the cores
        "TQDM_POSITION": str(place.number),  # each has a line of the terminal
    }
    processes: list[BaseProcess] = []
    readers: dict[Connection, int] = {}
    try:
        for rank in range(num_ranks):
            variables = {
                **PROCESS_ENVIRONMENT,
                **os.environ,
                **world,
                "RANK": str(rank),
                "LOCAL_RANK": str(num_ranks * place.number + rank),  # of the GPU
            }
            reader, writer = multiprocessing.Pipe(duplex=False)
            processes.append(fork_server.start(_rank, variables, function, arguments, writer))
            writer.close()
            readers[reader] = rank
            place.alive.append(processes[-1].pid or 0)
        with end_forwarded([process.pid or 0 for process in processes]):
            codes, errors = _wait(processes, readers)
    finally:
        _end(processes)
        for process in processes:
            place.alive.remove(process.pid or 0)
    if (ending := _ending(codes[0])) is not None:  # others may fail without the first
        raise StageEnded(f"{ending.name}: the ranks have ended, with nothing half-done")
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
        report = _to_report(error)
        with suppress(OSError):  # nobody listens any more
            errors.send(report)  # before this rank leaves: then the other ranks fail
        raise SystemExit(
            report.exit_code if isinstance(report, ExpectedError) else StageFailed.exit_code
        ) from None
    finally:
        if (process_group := sys.modules.get("pipeline.runtime.process_group")) is not None:
            process_group.leave()


def _to_report(error: Exception) -> ExpectedError | Bug:
    """Return the error that the process that launched this rank will raise."""
    if isinstance(error, ExpectedError):
        return error
    return of_file(error) if is_of_file(error) else Bug(traceback.format_exc())


def _wait(
    processes: Sequence[BaseProcess], readers: dict[Connection, int]
) -> tuple[list[int], list[tuple[int, Exception]]]:
    """Wait for all ranks, and return their exit codes and the errors that they sent.

    After one rank has failed, the others have some seconds to end by themselves. A rank
    that still runs has exit code 0. Each error comes with its rank, in order of
    arrival.
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
    """Return what a rank has sent, if anything; a reader at its end is removed."""
    try:
        return [(readers[reader], reader.recv())] if reader.poll() else []
    except (EOFError, OSError):
        del readers[reader]
        return []


def _end(processes: Sequence[BaseProcess]) -> None:
    """End the ranks that are left: ask them, let the first one save, then kill them.

    Ranks whose server is gone are killed too.
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
    """Return the signal that ended a rank with this exit code, if one did."""
    return next((number for number in ENDING if code in (-number, 128 + number)), None)


def _cause(errors: Sequence[tuple[int, Exception]], codes: Sequence[int]) -> Exception:
    """Return the error that explains why ranks failed.

    A rank may fail only because another rank is gone. The other rank explains more,
    even if it sent no error.
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
