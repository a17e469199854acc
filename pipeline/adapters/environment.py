"""Environment variables that libraries read as a compute process starts."""

# ours: several threads a process stall whenever a neighbour is busy, as OpenMP spins; and glibc gives large buffers back
# to the kernel at once, which costs a fifth of the speed of a training step. Every rank compiles for itself.
PROCESS_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "GOMP_SPINCOUNT": "0",
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}
