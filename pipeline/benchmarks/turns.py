"""Contenders in processes of their own that take turns: other work of the machine slows
all alike.
"""

import hashlib
import logging
import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from importlib.resources.abc import Traversable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from pipeline.artefacts.measurements import Quartiles
from pipeline.artefacts.shards import Record, write_shard
from pipeline.errors import InputError, StageFailed, first_line
from pipeline.images import decode as images
from pipeline.runtime.progress import Progress

Measure = Callable[[int], Any]  # what a contender does in its turn, by the number of an image


class Spent(NamedTuple):
    """Seconds of a work on the clock, and of this process on its cores.

    Other work of the machine lengthens the first, and hardly the second.
    """

    wall: float
    cpu: float


def stopwatch() -> Callable[[], Spent]:
    """Start now, and return what says the seconds since then.

    Threads count, other processes do not.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: Spent(time.perf_counter() - wall, time.process_time() - cpu)


@contextmanager
def worker(make: Callable[[], Measure], environment: Mapping[str, str]) -> Iterator[Connection]:
    """Start a process that makes a contender, and yield the connection to it.

    The contender measures whenever it receives a number. `make` must be picklable.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, make))
    before = dict(os.environ)
    os.environ.update(environment)
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


def _serve(connection: Connection, make: Callable[[], Measure]) -> None:
    torch.set_num_threads(1)
    # this logger warns where a CUDA build sees no GPU
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        measure = make()
        while (number := connection.recv()) is not None:
            connection.send(measure(number))
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as error:
        traceback.print_exc()
        connection.send(first_line(error))


def take_turns(
    workers: Mapping[str, Connection], rounds: int, progress: Progress
) -> list[dict[str, Any]]:
    """Return what every contender measured, round by round.

    A first round builds and warms up; it does not count.
    """
    results = []
    for number in range(-1, rounds):
        measured = {}
        for name, contender in workers.items():
            measured[name] = ask(contender, name, max(number, 0))
            progress.advance(note=name)
        results.append(measured)
    return results[1:]


def ask(worker: Connection, name: str, number: int) -> Any:
    """Give a contender its turn, and return what it measured.

    Raises:
        StageFailed: the contender failed or died.
    """
    try:
        with suppress(BrokenPipeError):  # it ended before its turn; its answer is still there
            worker.send(number)
        answer = worker.recv()
    except EOFError:
        raise StageFailed(f"benchmark: the process of {name!r} died") from None
    if isinstance(answer, str):
        raise StageFailed(f"benchmark: {name!r} failed: {answer}")
    return answer


def photograph_shard(folder: Path, path: Path | None, num_images: int) -> Path:
    """Write a shard of the first usable images below `path` into `folder`, and return
    its path. Without `path` it holds the two photographs that scikit-learn ships.

    Raises:
        InputError: there is no such folder, or no usable image in it.
    """
    shard = folder / "photographs.arrow"
    write_shard(shard, ["photograph"], photographs(path, num_images))
    return shard


def photographs(path: Path | None, num_images: int) -> Iterator[Record]:
    """Yield the images of `photograph_shard`.

    Raises:
        InputError: there is no such folder, or no usable image in it.
    """
    if path is None:
        folder = resources.files("sklearn.datasets").joinpath("images")
        files: Mapping[str, Traversable] = {
            name: folder.joinpath(name) for name in ("china.jpg", "flower.jpg")
        }
    elif path.is_dir():
        files = {str(path): path for path in sorted(path.rglob("*")) if path.is_file()}
    else:
        raise InputError(f"{path}: no such folder; expected one with images")
    usable = 0
    for name, file in files.items():
        if usable == num_images:
            break
        content = file.read_bytes()
        try:
            width, height = images.inspect(content)
        except images.BadImage:
            continue
        usable += 1
        yield Record(name, content, 0, width, height, hashlib.sha256(content).hexdigest())
    if not usable:
        raise InputError(f"{path}: none of its {len(files)} files is a usable image")


def quartiles(values: list[float]) -> Quartiles:
    """Return the lower quartile, the median and the upper quartile."""
    lower, median, upper = np.percentile(values, (25, 50, 75)).tolist()
    return lower, median, upper


def times_as_fast(ours: Sequence[float], peers: Sequence[float]) -> Quartiles:
    """Return how many times as fast as a peer we are: quartiles of ratios, each within
    a round. Both are seconds, round by round.

    >>> times_as_fast([1.0, 2.0, 1.0], [2.0, 4.0, 3.0])
    (2.0, 2.0, 2.5)
    """
    return quartiles([peer / our for our, peer in zip(ours, peers, strict=True)])


def closest(ours: Sequence[float], peers: Mapping[str, Sequence[float]]) -> str:
    """Return the name of the fastest peer: of all, we are the fewest times as fast.

    >>> closest([1.0, 2.0], {"slow": [3.0, 3.0], "fast": [1.0, 2.0]})
    'fast'
    """
    return min(peers, key=lambda name: times_as_fast(ours, peers[name])[1])
