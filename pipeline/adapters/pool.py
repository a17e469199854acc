"""Independent pieces of work shared by processes of this machine."""

import multiprocessing
import os
import resource
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import TypeVar

from pipeline.study import StageFailed

MEMORY_BYTES = 2 * 2**30  # ours: of a worker; an image that wants more is refused, not the machine
Item = TypeVar("Item")
Result = TypeVar("Result")


def share(work: Callable[[Item], Result], items: Sequence[Item], num_processes: int) -> Iterator[Result]:
    """What `work` makes of each item, as it is done; both must be picklable. The processes end with this one, however it ends.

    Raises:
        StageFailed: a process died; and whatever `work` raises.
    """
    num_processes = min(num_processes, len(items))
    if num_processes <= 1:
        yield from map(work, items)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, context, initializer=_begin) as executor:
        try:
            for future in as_completed([executor.submit(work, item) for item in items]):
                yield future.result()
        except BrokenProcessPool:
            raise StageFailed("a worker process died; it may have wanted more memory than there is") from None
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():  # none after an undisturbed run but idle ones
                process.terminate()


def _begin() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
