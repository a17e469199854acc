"""Joining the ranks that share a stage (accelerate over torch.distributed), whoever
started them.
"""

import os

import torch
from accelerate import Accelerator

from pipeline.errors import StageFailed


def join() -> Accelerator:
    """Join the ranks that the environment describes (RANK, WORLD_SIZE ...); alone where
    it describes none.

    Raises:
        StageFailed: accelerate sees another world size than the environment, so each
            rank would train alone.
    """
    on_cpu = not torch.cuda.is_available()
    if on_cpu:
        torch.set_num_threads(1)
    else:  # fp32 means fp32, not TF32, and what is run again gives the same bits
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.deterministic = True
    accelerator = Accelerator(cpu=on_cpu)
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != expected:
        raise StageFailed(
            f"accelerate sees {accelerator.num_processes} processes, WORLD_SIZE is {expected}"
        )
    return accelerator


def leave() -> None:
    """Leave them, if they were joined."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
