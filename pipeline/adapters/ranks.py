"""Processes that work together (accelerate over torch.distributed): one per GPU, or one single-threaded per CPU core."""

import logging
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing as multiprocessing
from accelerate import Accelerator
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, start_processes

from pipeline.adapters.environment import PROCESS_ENVIRONMENT, num_cores
from pipeline.adapters.signals import end_forwarded
from pipeline.study import InputError, StageEnded

GRACE_SECONDS = 15  # ours: for the other ranks to end by themselves, once one has


class RankFailed(Exception):
    """A rank ended with an error of ours, not of the user's input; the message is its traceback."""


def num_local() -> int:
    """How many ranks this machine serves: its GPUs, or else its cores."""
    return torch.cuda.device_count() or num_cores()


def start() -> Accelerator:
    """Join the ranks that the environment describes (RANK, WORLD_SIZE ...); alone where it describes none.

    Raises:
        RuntimeError: accelerate sees another world size than the environment, so each rank would train alone.
    """
    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        torch.set_num_threads(1)
    else:  # fp32 means fp32, not TF32, and what is run again gives the same bits
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.deterministic = True
    accelerator = Accelerator(cpu=on_cpu)
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != expected:
        raise RuntimeError(f"accelerate sees {accelerator.num_processes} processes, WORLD_SIZE is {expected}")
    return accelerator


def launch(function: Callable[..., object], num_ranks: int, *arguments: Any) -> None:
    """Run `function(*arguments)` in `num_ranks` new processes of this machine and wait for all.

    If this process dies, so do they; if one of them fails, the others are ended; SIGTERM and SIGUSR2 are passed on to them.

    Raises:
        InputError: a rank raised it.
        StageEnded: they were asked to end, and did.
        RankFailed: a rank failed in another way.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    before = dict(os.environ)
    os.environ.update(PROCESS_ENVIRONMENT | before)
    os.environ.update(
        MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE=str(num_ranks), LOCAL_WORLD_SIZE=str(num_ranks)
    )
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # it names every process that it ends
    errors = multiprocessing.get_context("spawn").SimpleQueue()
    try:
        arrangement = (function, arguments, errors)
        started = start_processes(_rank_main, args=arrangement, nprocs=num_ranks, start_method="spawn", join=False)
        with end_forwarded(started.pids()) as notice:
            while not started.join(grace_period=GRACE_SECONDS):
                pass
    except (ProcessRaisedException, ProcessExitedException) as failure:
        exit_code = started.processes[0].exitcode  # of the rank that saves; another may have failed for want of it
        if notice.signal and exit_code in (-notice.signal, 128 + notice.signal):
            raise StageEnded(f"{notice.signal.name}: the ranks have ended, with nothing half-done") from None
        if errors.empty():
            raise RankFailed(str(failure)) from None
        kind, text = errors.get()
        raise (InputError(text) if kind == "input" else RankFailed(text)) from None
    finally:
        os.environ.clear()
        os.environ.update(before)


def _rank_main(rank: int, function: Callable[..., object], arguments: tuple[Any, ...], errors: Any) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    try:
        function(*arguments)
    except InputError as error:
        errors.put(("input", str(error)))
        raise SystemExit(2) from None
    except Exception:
        errors.put(("failure", traceback.format_exc()))
        raise SystemExit(3) from None
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
