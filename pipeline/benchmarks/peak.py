"""The peak of a core or a GPU: the speed of its fastest convolution."""

import time

import numpy as np
import torch
from torch import nn

# ours: channels and side of 3x3 convolutions that run at full speed
PEAK_LAYERS = ((128, 28), (256, 14), (512, 14))


def conv_peaks(_: int, device: torch.device | str = "cpu") -> dict[str, float]:
    """Measure the peak of a core or a GPU by precision, in FLOP/s.

    It is the speed of the fastest of a few well-shaped convolutions, channels last.
    """
    return {
        str(dtype): max(conv_speed(dtype, *layer, device) for layer in PEAK_LAYERS)
        for dtype in (torch.float32, torch.bfloat16)
    }


@torch.no_grad()
def conv_speed(
    dtype: torch.dtype, channels: int, side: int, device: torch.device | str = "cpu"
) -> float:
    """Return the FLOP/s of a convolution, of a batch that fills the device."""
    is_cuda = torch.device(device).type == "cuda"
    conv = nn.Conv2d(channels, channels, 3, padding=1).to(device, dtype)
    conv = conv.to(memory_format=torch.channels_last)
    x = torch.randn(256 if is_cuda else 12, channels, side, side).to(device, dtype)
    x = x.to(memory_format=torch.channels_last)
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        y = conv(x)
        if is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    flop: int = 2 * 9 * channels * y.numel()
    return flop / float(np.median(seconds[1:]))
