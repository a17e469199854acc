"""Independent pieces of work shared by processes of this machine."""

import multiprocessing
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from pipeline.errors import StageFailed
from pipeline.runtime import fork_server

# ours: 1.75 GiB, that a piece of work may take beyond what its process has; in all
# below 2 GB
MEMORY_BYTES = 7 * 2**28
Item = TypeVar("Item")
Result = TypeVar("Result")


def share(
    work: Callable[[Item], Result], items: Sequence[Item], num_processes: int
) -> Iterator[Result]:
    """What `work` makes of each item, as it is done; both must be picklable. The
    processes end with this one, however it ends.

    Raises:
        StageFailed: a process died; and whatever `work` raises.
    """
    num_processes = min(num_processes, len(items))
    if num_processes <= 1:
        yield from map(partial(_in_worker, work), items)
        return
    with ProcessPoolExecutor(
        num_processes, fork_server.forks(), fork_server.begin, (dict(os.environ),)
    ) as executor:
        try:
            for future in as_completed([executor.submit(_in_worker, work, item) for item in items]):
                yield future.result()
        except BrokenProcessPool:
            raise StageFailed(
                "a worker process died; it may have wanted more memory than there is"
            ) from None
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            # none after an undisturbed run but idle ones
            for process in multiprocessing.active_children():
                process.terminate()


@contextmanager
def _limited_memory() -> Iterator[None]:
    """An image that wants more is refused by the allocator, and rejected; the machine
    stays whole.
    """
    # of data, that this process has already
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    before = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(
        resource.RLIMIT_DATA,
        (wanted if before[1] == resource.RLIM_INFINITY else min(wanted, before[1]), before[1]),
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _in_worker(work: Callable[[Item], Result], item: Item) -> Result:
    with _limited_memory():
        return work(item)
