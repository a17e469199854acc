"""Join the ranks that share a stage, whoever started them.

accelerate joins them, over torch.distributed.
"""

import os

import torch
from accelerate import Accelerator
from accelerate.utils import (
    GradientAccumulationPlugin,
    InitProcessGroupKwargs,
    gather_object,
)
from accelerate.utils.environment import parse_flag_from_env

from pipeline.errors import StageFailed
from pipeline.runtime import device, environment, fork_server
from pipeline.runtime.variables import refuse_contrary


def join(*precisions: str) -> Accelerator:
    """Join the ranks that the environment describes (RANK, WORLD_SIZE and so on).

    The process computes alone where the environment describes no ranks. accelerate
    reads settings from the environment unless a call sets them: this call sets all that
    change a number. Autocast, accumulation and compilation are our own. A late rank is
    waited for as long as `patience` says.

    Raises:
        InputError: a variable of the environment contradicts `precisions`, or one of
            them needs a GPU, and there is none.
        StageFailed: accelerate sees another world size than the environment, so each
            rank would train alone; or its device is no CPU and no CUDA GPU.
    """
    refuse_contrary(precisions, os.environ)
    fork_server.keep_sockets()  # of the processes that load images
    on_cpu = not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")
    if on_cpu:
        device.refuse_without_gpu(precisions)
    else:  # fp32 is not TF32, and a second run gives the same bits
        products = "tf32" if set(precisions) == {"tf32"} else "ieee"
        torch.backends.cudnn.conv.fp32_precision = products  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = products
        torch.backends.cudnn.deterministic = True
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision="no",
        # a variable would override a plain number of steps
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        dynamo_backend="no",
        kwargs_handlers=[InitProcessGroupKwargs(timeout=environment.patience())],
    )
    if on_cpu:
        torch.set_num_threads(1)  # last, because accelerate may set another number
    if accelerator.device.type not in ("cpu", "cuda"):
        raise StageFailed(f"accelerate chose the device {accelerator.device}; expected cpu or cuda")
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != expected:
        raise StageFailed(
            f"accelerate sees {accelerator.num_processes} processes, WORLD_SIZE is {expected}"
        )
    return accelerator


def hardware(accelerator: Accelerator) -> dict[str, str]:
    """Return the facts of all ranks' devices; every rank must call this."""
    return device.joined(gather_object([device.facts(accelerator.device)]))


def leave() -> None:
    """Leave the ranks, if this process joined them."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
