"""What a rank used of the cores and the memory that its job had, at its end.

No accounting is needed. Ranks of a job are alike, and rank 0 does most.
"""

import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from pipeline.configs.base import Frozen

LITTLE = 0.25  # ours: a request far from the use keeps others out, and waits longer
SHORT = 60.0  # ours: seconds; a shorter job says nothing about its work
SMALL = 8.0  # ours: gigabytes; a smaller request keeps nobody out
TICKS = os.sysconf("SC_CLK_TCK")


class Use(Frozen):
    """What one rank used and had, in seconds, cores and GB (SLURM's: 2**30 bytes).

    0 is unknown. `gigabytes` is at most what its processes held: the peak of the first,
    and that of the largest other one for each core.
    """

    seconds: float
    cores: float
    cores_asked: int = 0
    gigabytes: float
    gigabytes_asked: float = 0.0
    gpu_gigabytes: float = 0.0
    gpu_gigabytes_there: float = 0.0

    def in_words(self) -> str:
        """Return the use and the request, and a hint if they are far apart."""
        cores = f" of {self.cores_asked}" if self.cores_asked else ""
        memory = f" of {self.gigabytes_asked:.3g}" if self.gigabytes_asked else ""
        parts = [f"used {self.cores:.1f}{cores} cores", f"at most {self.gigabytes:.1f}{memory} GB"]
        if self.gpu_gigabytes:
            parts.append(
                f"{self.gpu_gigabytes:.1f} of {self.gpu_gigabytes_there:.0f} GB of the GPU"
            )
        return "; ".join([", ".join(parts), *self.hints()])

    def hints(self) -> Iterator[str]:
        """Yield what could be asked for instead."""
        if self.seconds < SHORT:
            return
        if self.cores_asked > 1 and self.cores < LITTLE * self.cores_asked:
            yield "fewer cpus_per_task would do"
        if self.gigabytes_asked > SMALL and self.gigabytes < LITTLE * self.gigabytes_asked:
            yield "less mem_gb would do"


class Meter:
    """Measures this process and its children, from its start on."""

    def __init__(self) -> None:
        self.start, self.cpu = time.monotonic(), cpu_seconds()

    def read(self) -> Use:
        """Return the use so far."""
        seconds = max(time.monotonic() - self.start, 1e-3)
        cores = cores_asked(os.environ)
        used, there = gpu_gigabytes()
        return Use(
            seconds=seconds,
            cores=(cpu_seconds() - self.cpu) / seconds,
            cores_asked=cores,
            gigabytes=gigabytes(cores),
            gigabytes_asked=gigabytes_asked(os.environ, cores),
            gpu_gigabytes=used,
            gpu_gigabytes_there=there,
        )


def cpu_seconds() -> float:
    """Return the CPU time of this process, of its children, and of theirs."""
    total = sum(os.times()[:4])
    for pid in descendants():
        with suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += sum(map(int, fields[11:15])) / TICKS  # proc(5): utime to cstime
    return total


def gigabytes(cores: int) -> float:
    """Return the most memory that this process and one other for each core held."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    other = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    for pid in descendants():
        with suppress(OSError, ValueError, StopIteration):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            other = max(other, next(int(x.split()[1]) for x in lines if x.startswith("VmHWM")))
    return (own + max(1, cores) * other) / 2**20


def descendants() -> list[int]:
    """Return the living processes that this one started, and those that they did."""
    pids = [os.getpid()]
    for pid in pids:  # which grows
        with suppress(OSError, ValueError):
            for path in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += map(int, path.read_text().split())
    return pids[1:]


def gpu_gigabytes() -> tuple[float, float]:
    """Return the most memory of the GPU that torch held, and all of it; 0 without."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0.0, 0.0
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return torch.cuda.max_memory_allocated() / 2**30, total / 2**30


def cores_asked(variables: Mapping[str, str]) -> int:
    """Return the cores of a rank, from the variables of its job; 0 is unknown.

    >>> cores_asked({"SLURM_CPUS_ON_NODE": "8", "SLURM_STEP_TASKS_PER_NODE": "2(x3)"})
    4
    """
    given = _number(variables, "SLURM_CPUS_PER_TASK")
    return given or _number(variables, "SLURM_CPUS_ON_NODE") // _tasks(variables)


def gigabytes_asked(variables: Mapping[str, str], cores: int) -> float:
    """Return the memory of a rank, from the variables of its job; 0 is unknown.

    >>> gigabytes_asked({"SLURM_MEM_PER_NODE": "8000"}, 1)
    7.8125
    """
    mebibytes = (
        _number(variables, "SLURM_MEM_PER_NODE") / _tasks(variables)
        or _number(variables, "SLURM_MEM_PER_CPU") * cores
        or _number(variables, "SLURM_MEM_PER_GPU")
        * _number(variables, "SLURM_GPUS_ON_NODE")
        / _tasks(variables)
    )
    return mebibytes / 1024


def _tasks(variables: Mapping[str, str]) -> int:
    return max(1, _number(variables, "SLURM_STEP_TASKS_PER_NODE"))


def _number(variables: Mapping[str, str], name: str) -> int:
    """Return the number with which a value starts."""
    digits = variables.get(name, "").partition("(")[0].partition(",")[0]
    return int(digits) if digits.isdigit() else 0
