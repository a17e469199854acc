"""What the environment grants a process, and the variables that libraries read as it
starts.
"""

import os

# what the user typed, for stages that run in processes of their own
COMMAND = "GOING_DEEPER_COMMAND"

# ours: glibc gives large buffers back to the kernel at once, which costs a fifth of the
# speed of a training step, and more of a large batch's
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}
# ours: several threads a process stall whenever a neighbour is busy, as OpenMP spins.
# Every rank compiles for itself.
PROCESS_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    **ALLOCATOR,
}


def num_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0))


def cores_per_rank() -> int:
    """This rank's share of the cores that it may use: what SLURM gave each task, or an
    equal part for each local rank.
    """
    cores, granted = num_cores(), os.environ.get("SLURM_CPUS_PER_TASK")
    return (
        min(cores, int(granted))
        if granted
        else max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    )
