"""A network made fast on its device, and the size of its batches."""

import copy
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.module import register_module_forward_hook

from pipeline.models import operators
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.layers import ConvReLU

# ours: all divide 144. Few crops leave the time to calls: a small network is three
# times as fast on 144 as on 12. The figure for a GPU is a guess, never measured.
CPU_BATCHES, GPU_BATCH = (12, 24, 48, 72, 144), 288
# ours: values of a batch's largest activation that a CPU's caches take well: those of
# 12 crops behind GoogLeNet's first convolution
MOST_ACTIVATIONS = 12 * 64 * 112 * 112
# process_group.py sets tf32
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the context in which a network runs at a precision."""
    dtype = HALVES.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


@torch.no_grad()
def fastest_batch(network: nn.Module, image_NCHW: Tensor, precision: str) -> int:
    """Return how many crops a batch has; on a CPU, so many that activations stay fast.

    One image shows their size. What a network refuses is said later.
    """
    device, largest = image_NCHW.device, image_NCHW.numel()
    if device.type != "cpu":
        return GPU_BATCH

    def note(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel())

    with register_module_forward_hook(note), suppress(Exception), autocast(device, precision):
        network(image_NCHW)
    fit = [size for size in CPU_BATCHES if size * largest <= MOST_ACTIVATIONS]
    return max(fit, default=CPU_BATCHES[0])


def fast_copy(network: nn.Module, device: torch.device, precision: str) -> tuple[nn.Module, int]:
    """Return a fast copy of the network on the device, in evaluation mode, and the
    channels of its input.
    """
    network = copy.deepcopy(network).to(device).to(memory_format=torch.channels_last).eval()
    operators.use_operators(network, device)
    if precision == "bf16":
        if (first := _first_conv(network)) is not None:
            first.conv = _with_fourth_channel(first.conv)
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.to(torch.bfloat16)
    first = _first_conv(network)
    return network, 3 if first is None else first.conv.in_channels


def _with_fourth_channel(conv: nn.Conv2d) -> nn.Conv2d:
    """Return the convolution for inputs with a fourth channel, which has no effect."""
    wide = copy.deepcopy(conv)
    wide.in_channels = 4
    weight = F.pad(conv.weight.data, (0, 0, 0, 0, 0, 1))
    wide.weight = nn.Parameter(
        weight.contiguous(memory_format=torch.channels_last), requires_grad=False
    )
    return wide


def _first_conv(network: nn.Module) -> ConvReLU | None:
    """Return GoogLeNet's first layer; None where it is separable."""
    return (
        network.conv1
        if isinstance(network, GoogLeNet) and isinstance(network.conv1, ConvReLU)
        else None
    )
