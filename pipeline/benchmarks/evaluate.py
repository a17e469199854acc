"""How fast 144 crops of a photograph are classified: ours beside what people usually write, one core, interleaved.

Every contender waits in a process of its own, with one thread; they take turns on the same photographs, so that whatever
else the machine does falls on all alike. Ratios are taken within a round; medians and quartiles are over rounds.
"""

import hashlib
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from importlib.resources.abc import Traversable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.adapters import images, operators
from pipeline.adapters.progress import Progress
from pipeline.artefacts import storage
from pipeline.artefacts.dataset import Record, Split, write_shards
from pipeline.benchmarks.contenders import CONTENDERS, PEAK, conv_peaks
from pipeline.paper.audit import count_parts
from pipeline.paper.crops import NUM_CROPS
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.initialisation import INITIALISATIONS
from pipeline.study import BenchmarkConfig, InputError, StageFailed

CROPS = NUM_CROPS["crops_144"]
NEIGHBOUR_ROUNDS = 8  # ours: images with and without a busy neighbour, in turn
FASTEST = "ours bf16 compiled"


def benchmark_evaluate(config: BenchmarkConfig, root: Path) -> dict[str, Any]:
    """Measure, write benchmarks/<hash>/benchmark.json, and return what it holds.

    Raises:
        InputError: `config.path` holds no usable image.
        StageFailed: a contender failed.
    """
    if operators.compiler() is None:
        raise InputError("the compiled contenders need a C++ compiler; set CXX, or install g++")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as processes:
        shards = list(write_shards(Path(folder), "val", _photographs(config)))
        names = [*CONTENDERS, PEAK]
        workers = {name: processes.enter_context(_worker(name, config.input_size, shards)) for name in names}
        num_images = len(Split(shards))
        rounds: list[dict[str, Any]] = []
        with Progress("benchmark evaluate", (config.rounds + 1) * len(workers) + 2 * NEIGHBOUR_ROUNDS, "samples") as progress:
            for number in range(-1, config.rounds):  # the first round builds and compiles; it does not count
                found = {}
                for name, worker in workers.items():
                    found[name] = _ask(worker, name, max(number, 0) % num_images)
                    progress.advance(note=name)
                if number >= 0:
                    rounds.append(found)
            disturbed = _with_neighbour(workers[FASTEST], num_images, progress)
    facts = _facts(config, rounds, disturbed, num_images)
    storage.seal(config, root, [], facts)
    return facts


def _photographs(config: BenchmarkConfig) -> Iterator[Record]:
    """The user's first images, or the two photographs that scikit-learn ships."""
    if config.path is None:
        from importlib import resources

        folder = resources.files("sklearn.datasets").joinpath("images")
        files: Mapping[str, Traversable] = {name: folder.joinpath(name) for name in ("china.jpg", "flower.jpg")}
    elif config.path.is_dir():
        files = {str(path): path for path in sorted(config.path.rglob("*")) if path.is_file()}
    else:
        raise InputError(f"{config.path}: no such folder; expected one with images")
    usable = 0
    for name, file in files.items():
        if usable == config.num_images:
            break
        content = file.read_bytes()
        try:
            image = images.decode(content)
        except images.BadImage:
            continue
        usable += 1
        yield Record(name, content, 0, image.width, image.height, hashlib.sha256(content).hexdigest())
    if not usable:
        raise InputError(f"{config.path}: none of its {len(files)} files is a usable image")


@contextmanager
def _worker(name: str, input_size: int, shards: list[Path]) -> Iterator[Connection]:
    """A process that has prepared a contender and measures it whenever it is sent the index of an image."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, name, input_size, shards), daemon=True)
    before = dict(os.environ)
    os.environ.update(CONTENDERS[name].environment if name in CONTENDERS else CONTENDERS[FASTEST].environment)
    process.start()
    os.environ.clear()
    os.environ.update(before)
    there.close()
    try:
        yield here
    finally:
        with suppress(OSError):
            here.send(None)
        process.join(5)
        process.kill()
        process.join()


def _serve(connection: Connection, name: str, input_size: int, shards: list[Path]) -> None:
    torch.set_num_threads(1)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns where a CUDA build finds no GPU
    try:
        measure: Callable[[int], Any] = conv_peaks
        if name != PEAK:
            measure = CONTENDERS[name].make(_network(input_size), Split(shards))
        while (index := connection.recv()) is not None:
            connection.send(measure(index))
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as error:
        traceback.print_exc()
        connection.send(f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}")


def _network(input_size: int) -> GoogLeNet:
    network = GoogLeNet(input_size=input_size, aux_heads=()).eval()
    INITIALISATIONS["kaiming"](network, torch.Generator().manual_seed(0))
    return network


def _ask(worker: Connection, name: str, index: int) -> Any:
    try:
        with suppress(BrokenPipeError):  # it ended before its turn; what it said is still there
            worker.send(index)
        answer = worker.recv()
    except EOFError:
        raise StageFailed(f"benchmark: the process of {name!r} died") from None
    if isinstance(answer, str):
        raise StageFailed(f"benchmark: {name!r} failed: {answer}")
    return answer


def _with_neighbour(worker: Connection, num_images: int, progress: Progress) -> list[float]:
    """Speed beside a busy process as a share of the speed alone, by pairs of turns."""
    busy = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"  # it does not outlive this process
    neighbour = subprocess.Popen([sys.executable, "-c", busy])
    shares = []
    try:
        for number in range(NEIGHBOUR_ROUNDS):
            seconds = []
            for signal_sent in (signal.SIGSTOP, signal.SIGCONT):
                neighbour.send_signal(signal_sent)
                seconds.append(_ask(worker, FASTEST, number % num_images).total)
                progress.advance(note="busy neighbour")
            shares.append(seconds[0] / seconds[1])
    finally:
        neighbour.kill()
        neighbour.wait()
    return shares


def _facts(config: BenchmarkConfig, rounds: list[dict[str, Any]], disturbed: list[float], num_images: int) -> dict[str, Any]:
    """All figures: medians, each with its quartiles."""
    flop = 2 * CROPS * count_parts(GoogLeNet(input_size=config.input_size, aux_heads=()))[""].macs
    contenders = {}
    for name, contender in CONTENDERS.items():
        samples = [found[name] for found in rounds]
        peak = [found[PEAK][str(contender.dtype)] for found in rounds]
        facts = {
            "text": contender.text,
            "seconds": _quartiles([s.total for s in samples]),
            "preprocessing_seconds": _quartiles([s.preprocessing for s in samples]),
            "images_per_second": _quartiles([1 / s.total for s in samples]),
            "crops_per_second": _quartiles([CROPS / s.total for s in samples]),
            "times_naive": _quartiles([found["naive"].total / s.total for found, s in zip(rounds, samples, strict=True)]),
            "times_careful_compiled": _quartiles(
                [found["careful compiled"].total / s.total for found, s in zip(rounds, samples, strict=True)]
            ),
            "preprocessing_times_naive": _quartiles(
                [found["naive"].preprocessing / s.preprocessing for found, s in zip(rounds, samples, strict=True)]
            ),
            "preprocessing_share": _quartiles([s.preprocessing / s.total for s in samples]),
            "share_of_peak": _quartiles([flop / s.total / p for s, p in zip(samples, peak, strict=True)]),
            "largest_difference": max(
                float(np.abs(found["naive"].probabilities - s.probabilities).max())
                for found, s in zip(rounds, samples, strict=True)
            ),
        }
        bounds = [s.bound / s.total for s in samples if s.bound is not None]
        contenders[name] = facts | {"share_of_bound": _quartiles(bounds) if bounds else None}
    return {
        "input_size": config.input_size,
        "rounds": len(rounds),
        "num_images": num_images,
        "gflop_per_image": flop / 1e9,
        "peak_gflops": {name: _quartiles([found[PEAK][name] / 1e9 for found in rounds]) for name in rounds[0][PEAK]},
        "contenders": contenders,
        "speed_beside_a_busy_process": _quartiles(disturbed),
        "cores": len(os.sched_getaffinity(0)),
    }


def _quartiles(values: list[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    found: list[float] = np.percentile(values, (25, 50, 75)).tolist()
    return found
