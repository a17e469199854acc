"""The cores of a process, its secrets, and the variables that libraries read at its
start.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from pipeline.errors import InputError

MOST_MINUTES = 527_040  # ours: a year
# the user's command line, for stages that run in their own processes
COMMAND = "GOING_DEEPER_COMMAND"

# minutes that a rank waits for others in a barrier or a sum, as the site says; ours:
# ranks of an evaluation end hours apart where one has a slow node. A rank that died is
# noticed by its closed connection, long before.
PATIENCE, PATIENCE_MINUTES = "GOING_DEEPER_COLLECTIVE_MINUTES", 240

# ours: glibc gives large buffers back to the kernel at once, which costs a fifth of the
# speed of a training step, and more with a large batch; huge pages give 1 to 4 %
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
# ours: if a process has several threads, they stall when a neighbour is busy, because
# OpenMP spins. Every rank compiles for itself.
PROCESS_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    **ALLOCATOR,
}


# ours: parts of the names of variables whose values no file may hold, in any case; a
# name too many (GIT_AUTHOR_NAME) costs nothing
SECRET = re.compile(
    "token|key|secret|passwd|password|passphrase|credential|jwt|auth", re.IGNORECASE
)


def is_secret(name: str) -> bool:
    """Return whether a variable's name says that its value is a secret.

    >>> [is_secret(name) for name in ("HF_TOKEN", "SLURM_JWT", "SLURM_JOB_ID")]
    [True, True, False]
    """
    return SECRET.search(name) is not None


@contextmanager
def without_secrets(*readers: str) -> Iterator[None]:
    """Hide the secrets of the environment from processes that start within the block.

    Variables whose names begin with one of `readers` stay.
    """
    hidden = {
        name: value
        for name, value in os.environ.items()
        if is_secret(name) and not name.startswith(readers)
    }
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def users_umask() -> int:
    """Return this process's umask, which can only be read by setting it."""
    before = os.umask(0o077)
    os.umask(before)
    return before


def patience() -> timedelta:
    """Return how long a rank waits for others.

    Raises:
        InputError: the variable that says so is no number of minutes.
    """
    text = os.environ.get(PATIENCE, str(PATIENCE_MINUTES))
    if not text.isdecimal() or not 0 < int(text) <= MOST_MINUTES:
        raise InputError(f"{PATIENCE}={text}: expected minutes, 1 to {MOST_MINUTES}")
    return timedelta(minutes=int(text))


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def cores_per_rank() -> int:
    """Return this rank's number of cores.

    SLURM says how many each task has; elsewhere the local ranks have equal parts.
    """
    cores, task_cores = num_cores(), os.environ.get("SLURM_CPUS_PER_TASK")
    return (
        min(cores, int(task_cores))
        if task_cores
        else max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    )


def num_loaders(device: str) -> int:
    """Return how many threads of a rank can open images while its device computes.

    A CPU's rank computes on one core itself.
    """
    return cores_per_rank() - (device == "cpu")
