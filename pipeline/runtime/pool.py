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

# ours: a piece of work may take 1.75 GiB more than its process has; the sum is below
# 2 GB
MEMORY_BYTES = 7 * 2**28
END_SECONDS = 5.0  # ours
Item = TypeVar("Item")
Result = TypeVar("Result")


def share(
    work: Callable[[Item], Result], items: Sequence[Item], num_processes: int
) -> Iterator[Result]:
    """Yield the result of `work` for each item, as soon as it is done.

    `work` and the items must be picklable. The processes end with this one, however it
    ends. Errors of `work` are raised here.

    Raises:
        StageFailed: a process died.
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
            # after an undisturbed run all of them are idle
            for process in (children := multiprocessing.active_children()):
                process.terminate()
            for process in children:
                process.join(END_SECONDS)  # then what they wrote can be swept


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Limit the memory of the process within the block.

    The allocator refuses an image that needs more, and the image is rejected.
    """
    # the data pages that this process already has
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    before = resource.getrlimit(resource.RLIMIT_DATA)
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(
        resource.RLIMIT_DATA,
        (limit if before[1] == resource.RLIM_INFINITY else min(limit, before[1]), before[1]),
    )
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _in_worker(work: Callable[[Item], Result], item: Item) -> Result:
    with _limited_memory():
        return work(item)
