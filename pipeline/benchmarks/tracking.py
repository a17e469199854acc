"""What tracking costs: a training step with a row to W&B every window of steps, beside
the same without; interleaved.

A small network, whose steps are quick, so that the share is the largest a study could
see.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch

from pipeline.artefacts import sealing
from pipeline.benchmarks.turns import Measure, quartiles, take_turns, worker
from pipeline.configs.network import NetworkConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import BenchmarkConfig
from pipeline.configs.train import TrainConfig
from pipeline.runtime import process_group
from pipeline.runtime.environment import PROCESS_ENVIRONMENT
from pipeline.runtime.progress import Progress
from pipeline.tracking.tracker import Tracker
from pipeline.training.cadence import WINDOW, Step
from pipeline.training.learner import Learner
from pipeline.training.loader import Batch

BATCH, CLASSES, WIDTH = 32, 10, 0.25  # ours: the demo's network
WINDOWS = 2  # a turn
CONTENDERS = {"untracked": "disabled", "offline": "offline"}  # name -> WANDB_MODE


def benchmark_tracking(config: BenchmarkConfig, root: Path) -> dict[str, Any]:
    """Measure, write benchmarks/<hash>/benchmark.json, and return what it holds.

    Raises:
        StageFailed: a contender failed.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as processes:
        workers = {
            name: processes.enter_context(
                worker(
                    partial(_make, config.input_size, Path(folder)),
                    {**PROCESS_ENVIRONMENT, "WANDB_MODE": mode},
                )
            )
            for name, mode in CONTENDERS.items()
        }
        with Progress(
            "benchmark tracking", (config.rounds + 1) * len(workers), "samples"
        ) as progress:
            rounds = take_turns(workers, config.rounds, progress)
    facts = {
        "input_size": config.input_size,
        "rounds": len(rounds),
        "steps_a_row": WINDOW,
        "milliseconds": {
            name: quartiles([1000 * found[name][0] for found in rounds]) for name in CONTENDERS
        },
        "milliseconds_a_row": quartiles([1000 * found["offline"][1] for found in rounds]),
        "overhead": quartiles(
            [found["offline"][0] / found["untracked"][0] - 1 for found in rounds]
        ),
        "overhead_of_rows": quartiles(
            [found["offline"][1] / WINDOW / found["offline"][0] for found in rounds]
        ),
    }
    sealing.seal(config, root, [], facts)
    return facts


def _make(input_size: int, root: Path) -> Measure:
    data = PrepareConfig(source="imagefolder", name="benchmark")
    network = NetworkConfig(input_size=input_size, width=WIDTH)
    config = TrainConfig(
        data=data, network=network, num_epochs=10**6, global_batch_size=BATCH, precision="bf16"
    )
    learner, tracker = Learner(config, CLASSES, process_group.join()), Tracker(config, root)
    pixels = torch.randint(0, 256, (BATCH, input_size, input_size, 3), dtype=torch.uint8)
    batch, steps = (
        Batch(pixels, torch.randint(0, CLASSES, (BATCH,)), torch.empty(BATCH, 0)),
        count(1),
    )
    return lambda _: _measure(learner, tracker, batch, steps)


def _measure(
    learner: Learner, tracker: Tracker, batch: Batch, steps: Iterator[int]
) -> tuple[float, float]:
    """Seconds a step, rows included, and seconds a row alone."""
    started, rows = time.perf_counter(), 0.0
    for _ in range(WINDOWS):
        for _ in range(WINDOW):
            step = next(steps)
            losses = learner.step(Step(step, 1e-3), batch)
        logged = time.perf_counter()
        row = {
            "loss": float(losses.sum()),
            "learning_rate": 1e-3,
            "images_per_second": 300.0,
            "data_wait": 0.01,
            "memory_gb": 1.0,
        }
        tracker.log({"trainer/step": step, "epoch": step / 100, **row})
        rows += time.perf_counter() - logged
    return (time.perf_counter() - started) / (WINDOWS * WINDOW), rows / WINDOWS
