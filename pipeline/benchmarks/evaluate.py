"""How fast 144 crops of a photograph are classified: our code beside what people
usually write, on one core, interleaved.

Every contender waits in a process of its own, with one thread. They take turns on the
same photographs: other work of the machine slows all alike. Ratios are within a round;
medians and quartiles are over rounds.
"""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.artefacts import sealing
from pipeline.artefacts.dataset import Split
from pipeline.artefacts.measurements import Classification, EvaluateFacts, Quartiles
from pipeline.benchmarks.contenders import (
    CONTENDERS,
    NAIVE,
    NAIVE_TUNED,
    PEAK,
    Timing,
    conv_peaks,
)
from pipeline.benchmarks.turns import Measure, ask, photograph_shard, quartiles, take_turns, worker
from pipeline.configs.benchmark import BenchmarkConfig
from pipeline.errors import InputError
from pipeline.paper.counting import count_parts
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.initialisation import INITIALISATIONS
from pipeline.paper.policies import NUM_CROPS
from pipeline.runtime import environment, native
from pipeline.runtime.device import device_name
from pipeline.runtime.progress import Progress

CROPS = NUM_CROPS["crops_144"]
NEIGHBOUR_ROUNDS = 8  # ours: images with and without a busy neighbour, in turn
FASTEST = "ours bf16 compiled"


def benchmark_evaluate(config: BenchmarkConfig, root: Path) -> EvaluateFacts:
    """Measure, write benchmarks/<hash>/benchmark.json, and return what it holds.

    Raises:
        InputError: `config.path` holds no usable image.
        StageFailed: a contender failed.
    """
    if native.compiler() is None:
        raise InputError("the compiled contenders need a C++ compiler; set CXX, or install g++")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as processes:
        shards = [photograph_shard(Path(folder), config.path, config.num_images)]
        names = [*CONTENDERS, PEAK]
        workers = {
            name: processes.enter_context(
                worker(partial(_make, name, config, shards), _environment(name))
            )
            for name in names
        }
        num_images = len(Split(shards))
        with Progress(
            "benchmark evaluate",
            (config.rounds + 1) * len(workers) + 2 * NEIGHBOUR_ROUNDS,
            "samples",
        ) as progress:
            rounds = take_turns(workers, config.rounds, progress)
            disturbed = _with_neighbour(workers[FASTEST], progress)
    facts = _facts(config, rounds, disturbed, num_images)
    sealing.EVALUATE_BENCHMARK.seal(config, root, [], facts)
    return facts


def _make(name: str, config: BenchmarkConfig, shards: list[Path]) -> Measure:
    if name == PEAK:
        return partial(conv_peaks, device=config.device)
    split, device = Split(shards), torch.device(config.device)
    classify_one = CONTENDERS[name].make(_network(config.input_size), split, device)
    return lambda number: classify_one(number % len(split))


def _environment(name: str) -> dict[str, str]:
    return CONTENDERS[FASTEST if name == PEAK else name].environment


def _network(input_size: int) -> GoogLeNet:
    network = GoogLeNet(input_size=input_size, aux_heads=()).eval()
    INITIALISATIONS["kaiming"](network, torch.Generator().manual_seed(0))
    return network


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
                seconds.append(ask(contender, FASTEST, number).total)
                progress.advance(note="busy neighbour")
            shares.append(seconds[0] / seconds[1])
    finally:
        neighbour.kill()
        neighbour.wait()
    return shares


def _times(peer: str, rounds: list[dict[str, Any]], samples: list[Timing]) -> Quartiles:
    """Return how many times as fast as a peer the samples are, over all rounds."""
    return quartiles(
        [results[peer].total / s.total for results, s in zip(rounds, samples, strict=True)]
    )


def _facts(
    config: BenchmarkConfig, rounds: list[dict[str, Any]], disturbed: list[float], num_images: int
) -> EvaluateFacts:
    """Return all figures: medians, each with its quartiles."""
    flop = 2 * CROPS * count_parts(GoogLeNet(input_size=config.input_size, aux_heads=()))[""].macs
    contenders = {}
    for name, contender in CONTENDERS.items():
        samples = [results[name] for results in rounds]
        peak = [results[PEAK][str(contender.dtype)] for results in rounds]
        bounds = [s.bound / s.total for s in samples if s.bound is not None]
        contenders[name] = Classification(
            text=contender.text,
            seconds=quartiles([s.total for s in samples]),
            preprocessing_seconds=quartiles([s.preprocessing for s in samples]),
            images_per_second=quartiles([1 / s.total for s in samples]),
            crops_per_second=quartiles([CROPS / s.total for s in samples]),
            times_naive=_times(NAIVE, rounds, samples),
            times_naive_tuned=_times(NAIVE_TUNED, rounds, samples),
            times_careful_compiled=_times("careful compiled", rounds, samples),
            preprocessing_times_naive=quartiles(
                [
                    results[NAIVE].preprocessing / s.preprocessing
                    for results, s in zip(rounds, samples, strict=True)
                ]
            ),
            preprocessing_share=quartiles([s.preprocessing / s.total for s in samples]),
            share_of_peak=quartiles(
                [flop / s.total / p for s, p in zip(samples, peak, strict=True)]
            ),
            largest_difference=max(
                float(np.abs(results[NAIVE].probabilities - s.probabilities).max())
                for results, s in zip(rounds, samples, strict=True)
            ),
            share_of_bound=quartiles(bounds) if bounds else None,
        )
    return EvaluateFacts(
        input_size=config.input_size,
        rounds=len(rounds),
        num_images=num_images,
        gflop_per_image=flop / 1e9,
        peak_gflops={
            name: quartiles([results[PEAK][name] / 1e9 for results in rounds])
            for name in rounds[0][PEAK]
        },
        contenders=contenders,
        speed_beside_a_busy_process=quartiles(disturbed),
        cores=len(os.sched_getaffinity(0)),
        allocator=environment.ALLOCATOR,
        device=device_name(config.device),
    )
