"""Joining the ranks that share a stage (accelerate over torch.distributed), whoever
started them.
"""

import os

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin, gather_object
from accelerate.utils.environment import parse_flag_from_env

from pipeline.errors import StageFailed
from pipeline.runtime import device
from pipeline.runtime.variables import refuse_contrary


def join(*precisions: str) -> Accelerator:
    """Join the ranks that the environment describes (RANK, WORLD_SIZE ...), to compute
    in `precisions`; alone where it describes none.

    accelerate takes its settings from the environment unless it is told: here it is
    told all that change a number. Autocast, accumulation and compilation are ours.

    Raises:
        InputError: a variable of the environment contradicts that.
        StageFailed: accelerate sees another world size than the environment, so each
            rank would train alone; or another device than a CPU or a CUDA GPU.
    """
    refuse_contrary(precisions, os.environ)
    on_cpu = not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
    if not on_cpu:  # fp32 means fp32, not TF32, and what is run again gives the same bits
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = "ieee"
        torch.backends.cudnn.deterministic = True
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision="no",
        # the number of steps alone would yield to a variable
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_backend="no",
    )
    if on_cpu:
        torch.set_num_threads(1)  # last: accelerate sets another where no variable does
    if accelerator.device.type not in ("cpu", "cuda"):
        raise StageFailed(f"accelerate chose the device {accelerator.device}; expected cpu or cuda")
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != expected:
        raise StageFailed(
            f"accelerate sees {accelerator.num_processes} processes, WORLD_SIZE is {expected}"
        )
    return accelerator


def hardware(accelerator: Accelerator) -> dict[str, str]:
    """The facts of all ranks' devices. Every rank asks."""
    return device.joined(gather_object([device.facts(accelerator.device)]))


def leave() -> None:
    """Leave them, if they were joined."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
