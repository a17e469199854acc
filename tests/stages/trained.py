"""Trainings in processes that start at once: forks of a server that has imported
everything.
"""

import hashlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from pipeline.artefacts.run import Run
from pipeline.configs.train import TrainConfig
from pipeline.runtime import ranks
from pipeline.stages.train import train
from pipeline.training.cadence import Step
from pipeline.training.learner import Learner
from pipeline.training.loader import Batch
from tests.forks import fork


def start(
    world_size: int, config: TrainConfig, root: Path, trace: Path | None = None
) -> list[BaseProcess]:
    """Start the ranks of a training; the first writes a line for each step to
    `trace`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started: list[BaseProcess] = []
    for rank in range(world_size):
        where = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": world_size,
            "LOCAL_WORLD_SIZE": world_size,
        }
        variables = {name: str(value) for name, value in where.items()} | {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        started.append(fork(_rank, config, root, trace, OMP_NUM_THREADS="1", **variables))
    return started


def _rank(config: TrainConfig, root: Path, trace: Path | None) -> None:
    if trace is not None and os.environ["RANK"] == "0":
        _trace_steps(trace)
    train(config, root)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _trace_steps(path: Path) -> None:
    original: Callable[..., torch.Tensor] = Learner.step

    def traced(self: Learner, step: Step, batch: Batch) -> torch.Tensor:
        losses = original(self, step, batch)
        pixels = hashlib.sha256(
            batch.pixels_NHWC.numpy().tobytes() + batch.labels_N.numpy().tobytes()
        ).hexdigest()
        with path.open("a") as file:
            file.write(
                json.dumps(
                    {
                        "step": step.number,
                        "batch": pixels,
                        "rate": step.rate,
                        "losses": losses.tolist(),
                    }
                )
                + "\n"
            )
        return losses

    Learner.step = traced  # type: ignore[method-assign]


def run(world_size: int, config: TrainConfig, root: Path, trace: Path | None = None) -> None:
    """Train to the end."""
    processes = start(world_size, config, root, trace)
    wait(processes)
    assert [process.exitcode for process in processes] == [0] * world_size


def launched_in_a_group(
    function: Callable[..., object], world_size: int, *arguments: object
) -> BaseProcess:
    """Start a process, with a process group of its own, that launches ranks."""
    return fork(_launch_in_a_group, function, world_size, *arguments)


def _launch_in_a_group(
    function: Callable[..., object], world_size: int, *arguments: object
) -> None:
    os.setsid()
    ranks.launch(function, world_size, *arguments)


def end(processes: list[BaseProcess], number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to all processes and wait for them."""
    for process in processes:
        if process.is_alive():
            os.kill(process.pid or 0, number)
    for process in processes:
        process.join()


def wait(
    processes: list[BaseProcess], until: Callable[[], bool] = lambda: False, seconds: float = 120
) -> None:
    """Wait until all have ended, or a condition is true."""
    deadline = time.monotonic() + seconds
    while any(process.is_alive() for process in processes) and not until():
        assert time.monotonic() < deadline
        time.sleep(0.002)  # a step takes some 20 ms, and the ranks want the cores


def steps(trace: Path, start: int = 0) -> list[dict[str, Any]]:
    """Return the traced steps in the order they were done, from byte `start` on. A step
    that was done again is there twice.
    """
    lines = trace.read_bytes()[start:].splitlines() if trace.exists() else []
    return [json.loads(line) for line in lines if line.endswith(b"}")]


def size(trace: Path) -> int:
    """Return the number of traced bytes so far."""
    return trace.stat().st_size if trace.exists() else 0


def rows(config: TrainConfig, root: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics, without the figures of clock and memory."""
    of_the_machine = ("seconds", "images_per_second", "data_wait", "memory_gb")
    return [
        {k: v for k, v in row.items() if k not in of_the_machine}
        for row in Run(config, root).metrics()
    ]


def final(config: TrainConfig, root: Path) -> dict[str, str]:
    """Return digests of the final weights."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / config.folder / "final").glob("*.safetensors"))
    }
