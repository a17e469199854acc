"""Works that run side by side on this machine, each in ranks of its own."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from queue import SimpleQueue

from pipeline.errors import StageEnded
from pipeline.runtime import ranks
from pipeline.runtime.signals import end_forwarded

# ours: N ranks that share a training are N ** 0.75 times as fast as one. Two were 1.3
# times (a small network) to 1.9 times as fast
SHARING = 0.75


def fastest_ranks(num_works: int, num_processes: int, valid: Sequence[int]) -> int:
    """Return how many ranks each of some equal works gets, so that all end soonest.

    `valid` are the numbers of ranks that can share one, in order. Of equals the
    smaller one is returned.

    >>> [fastest_ranks(works, 2, (1, 2)) for works in (1, 2, 3, 7)]
    [2, 1, 2, 1]
    >>> fastest_ranks(2, 8, (1, 2, 4, 8))
    4
    """

    def duration(number: int) -> float:
        rounds = -(-num_works // max(1, num_processes // number))
        return float(rounds / min(number, num_processes) ** SHARING)

    return min(valid, key=duration)


def run(works: Sequence[Callable[..., object]], num_ranks: int, num_processes: int) -> None:
    """Run works in `num_ranks` ranks each, as many at once as the processes allow.

    If one fails, the others are asked to end, which lets them save, and none begins.

    Raises:
        ExpectedError, Bug: what `ranks.launch` raises for the work that failed first.
    """
    places: SimpleQueue[int] = SimpleQueue()
    count = max(1, num_processes // num_ranks)
    for place in range(count):
        places.put(place)
    alive: list[int] = []  # the ids of all ranks, to which signals are passed on
    stopped = threading.Event()

    def launch(work: Callable[..., object]) -> None:
        place = places.get()
        try:
            if stopped.is_set() or notice.signal is not None:
                raise StageEnded("asked to end before it began")
            ranks.launch_at(ranks.Place(place, count, alive), work, num_ranks)
        except BaseException:
            stopped.set()  # before its place is free for the next
            raise
        finally:
            places.put(place)

    with end_forwarded(alive) as notice, ThreadPoolExecutor(count) as threads:
        futures = [threads.submit(launch, work) for work in works]
        try:
            failed = _first_failure(futures)
        finally:  # also at Ctrl-C
            stopped.set()
            if not all(future.done() for future in futures):
                _ask_to_end(alive)
    if failed is not None:
        raise failed


def _first_failure(futures: Sequence[Future[None]]) -> BaseException | None:
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    errors = [future.exception() for future in futures if future in done]
    return next((error for error in errors if error is not None), None)


def _ask_to_end(process_ids: Sequence[int]) -> None:
    for process_id in list(process_ids):
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGTERM)
