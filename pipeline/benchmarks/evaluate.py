"""How fast 144 crops of a photograph are classified: our code beside what people
usually write and beside the best runtimes, on one core, interleaved.

Every contender waits in a process of its own, with one thread. They take turns on the
same photographs: other work of the machine slows all alike. Ratios are within a round;
medians and quartiles are over rounds.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from pipeline.artefacts import sealing
from pipeline.artefacts.dataset import Split
from pipeline.artefacts.measurements import EvaluateFacts
from pipeline.benchmarks.comparison import classifications, leads
from pipeline.benchmarks.contenders import RUNTIMES, Contender, chosen
from pipeline.benchmarks.peak import conv_peaks
from pipeline.benchmarks.peers import CROPS, Task
from pipeline.benchmarks.turns import Measure, ask, photograph_shard, quartiles, take_turns, worker
from pipeline.configs.benchmark import BenchmarkConfig
from pipeline.errors import InputError, StageFailed
from pipeline.paper.counting import count_parts
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.initialisation import INITIALISATIONS
from pipeline.runtime import disk, native
from pipeline.runtime.device import device_name
from pipeline.runtime.environment import ALLOCATOR, PROCESS_ENVIRONMENT
from pipeline.runtime.progress import Progress

NEIGHBOUR_ROUNDS = 8  # ours: images with and without a busy neighbour, in turn
FASTEST = "ours bf16 compiled"  # is measured beside a busy neighbour
PEAK = "peak"
ONNX = "network.onnx"


def benchmark_evaluate(config: BenchmarkConfig, root: Path) -> EvaluateFacts:
    """Measure, write benchmarks/<hash>/benchmark.json, and return what it holds.

    Raises:
        InputError: `config.path` holds no usable image.
        StageFailed: a contender failed.
    """
    contenders, absent = chosen(config)
    if any(c.is_compiled for c in contenders.values()) and native.compiler() is None:
        raise InputError("the compiled contenders need a C++ compiler; set CXX, or install g++")
    with tempfile.TemporaryDirectory() as name, ExitStack() as processes:
        shard = photograph_shard(Path(name), config.path, config.num_images)
        for line in absent:
            print(line, file=sys.stderr, flush=True)
        if any(c.group in RUNTIMES for c in contenders.values()):
            export(config, shard.with_name(ONNX))
        workers = {
            PEAK: processes.enter_context(
                worker(partial(partial, conv_peaks, device=config.device), PROCESS_ENVIRONMENT)
            )
        }
        for name, contender in contenders.items():
            make = partial(_make, contender, config, shard)
            workers[name] = processes.enter_context(worker(make, contender.environment))
        drop_failing(contenders, workers)
        neighbours = NEIGHBOUR_ROUNDS if FASTEST in contenders else 0
        with Progress(
            "benchmark evaluate", (config.rounds + 1) * len(workers) + 2 * neighbours, "samples"
        ) as progress:
            rounds = take_turns(workers, config.rounds, progress)
            shares = _with_neighbour(workers[FASTEST], progress) if neighbours else []
        facts = _facts(config, contenders, rounds, shares, len(Split([shard])))
    sealing.EVALUATE_BENCHMARK.seal(config, root, [], facts)
    return facts


def drop_failing(contenders: dict[str, Contender], workers: dict[str, Connection]) -> None:
    """Leave out each runtime that cannot run our export.

    OpenVINO 2026.4 refuses the last pools of an input of 42 pixels.
    """
    for name in [name for name, contender in contenders.items() if contender.group in RUNTIMES]:
        try:
            ask(workers[name], name, 0)
        except StageFailed as failure:
            print(f"{failure}; it is left out", file=sys.stderr, flush=True)
            del contenders[name], workers[name]


def _make(contender: Contender, config: BenchmarkConfig, shard: Path) -> Measure:
    split = Split([shard])
    task = Task(untrained(config), shard.with_name(ONNX), split, torch.device(config.device))
    classify_one = contender.make(task)
    return lambda number: classify_one(number % len(split))


def untrained(config: BenchmarkConfig) -> GoogLeNet:
    """Return the network that all contenders run."""
    network = GoogLeNet(input_size=config.input_size, width=config.width, aux_heads=()).eval()
    INITIALISATIONS["kaiming"](network, torch.Generator().manual_seed(0))
    return network


def export(config: BenchmarkConfig, path: Path) -> None:
    """Write the network as the command `export` does."""
    from pipeline.tools.layout import onnx_program  # loads ONNX, which the others do not need

    disk.write_atomic(path, onnx_program(untrained(config), config.input_size, {}))


def _with_neighbour(contender: Connection, progress: Progress) -> list[float]:
    """Return the speed beside a busy process as a share of the speed alone, for each
    pair of turns.
    """
    # the neighbour does not outlive this process
    busy = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"
    neighbour = subprocess.Popen([sys.executable, "-c", busy])
    shares = []
    try:
        for number in range(NEIGHBOUR_ROUNDS):
            seconds = []
            for signal_sent in (signal.SIGSTOP, signal.SIGCONT):
                neighbour.send_signal(signal_sent)
                seconds.append(ask(contender, FASTEST, number).total.wall)
                progress.advance(note="busy neighbour")
            shares.append(seconds[0] / seconds[1])
    finally:
        neighbour.kill()
        neighbour.wait()
    return shares


def _facts(
    config: BenchmarkConfig,
    contenders: Mapping[str, Contender],
    rounds: list[dict[str, Any]],
    shares: list[float],
    num_images: int,
) -> EvaluateFacts:
    """Return all figures: medians, each with its quartiles."""
    flop = 2 * CROPS * count_parts(untrained(config))[""].macs
    peaks = [results.pop(PEAK) for results in rounds]
    return EvaluateFacts(
        input_size=config.input_size,
        width=config.width,
        rounds=len(rounds),
        num_images=num_images,
        gflop_per_image=flop / 1e9,
        peak_gflops={name: quartiles([peak[name] / 1e9 for peak in peaks]) for name in peaks[0]},
        contenders=classifications(contenders, rounds, peaks, flop, config.device),
        leads=leads(contenders, rounds, config.device),
        speed_beside_a_busy_process=quartiles(shares) if shares else None,
        cores=len(os.sched_getaffinity(0)),
        allocator=ALLOCATOR,
        device=device_name(config.device),
    )
