"""The layers of GoogLeNet (paper, section 5).

Details that the paper leaves out are those of Caffe's `bvlc_googlenet`.
"""

from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Layers = OrderedDict[str, nn.Module]


class ConvReLU(nn.Sequential):
    """A convolution with bias and "same" padding, then ReLU.

    Convolutions inside the modules have a ReLU too (paper, section 5). With
    `batch_norm`, batch norm between the two replaces the bias; its epsilon is 1e-3, as
    in TensorFlow's Inception.
    """

    if TYPE_CHECKING:  # TorchScript knows no module as a type
        conv: nn.Conv2d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        batch_norm: bool = False,
    ):
        conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            bias=not batch_norm,
        )
        super().__init__(_with_norm_and_relu(Layers(conv=conv), out_channels, batch_norm))


class SeparableConvReLU(nn.Sequential):
    """A depthwise convolution, then a 1x1 convolution with bias, then ReLU.

    The depthwise convolution has 8 filters for each channel, and neither bias nor ReLU.
    The number 8 is that of TensorFlow's Inception v2: min(64 / 3, 8).
    """

    MULTIPLIER = 8

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        batch_norm: bool = False,
    ):
        hidden = in_channels * self.MULTIPLIER
        depthwise = nn.Conv2d(
            in_channels,
            hidden,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            groups=in_channels,
            bias=False,
        )
        pointwise = nn.Conv2d(hidden, out_channels, 1, bias=not batch_norm)
        convs = Layers(depthwise=depthwise, pointwise=pointwise)
        super().__init__(_with_norm_and_relu(convs, out_channels, batch_norm))


def _with_norm_and_relu(layers: Layers, channels: int, batch_norm: bool) -> Layers:
    if batch_norm:
        layers["norm"] = nn.BatchNorm2d(channels, eps=1e-3)
    layers["relu"] = nn.ReLU(inplace=True)
    return layers


def max_pool(stride: int) -> nn.MaxPool2d:
    """Return a 3x3 max pool.

    Pools of stride 2 round their size up, as Caffe does: 112 -> 56 -> 28 -> 14 -> 7.
    """
    return nn.MaxPool2d(3, 2, ceil_mode=True) if stride == 2 else nn.MaxPool2d(3, 1, padding=1)


class LocalResponseNorm(nn.Module):
    """Local response normalisation over channels, on N x C x H x W.

    The output is x / (1 + alpha/size * s) ** 0.75, where s is the sum of squares over
    `size` neighbouring channels. The constants are Caffe's (size 5, alpha 1e-4, beta
    0.75, k 1); the paper states none.

    The sum is a 1x1 convolution with a band matrix, and the power is r * sqrt(r) with
    r = 1/sqrt(...). The output equals that of `torch.nn.LocalResponseNorm` up to
    rounding. This one is several times as fast, and it runs in bfloat16. Squares of
    float16 may be too large for it, so they are computed in float32.
    """

    band: Tensor

    def __init__(self, channels: int, size: int = 5, alpha: float = 1e-4):
        super().__init__()
        self.size, self.alpha = size, alpha
        distance = (torch.arange(channels)[:, None] - torch.arange(channels)[None, :]).abs()
        band = (distance <= size // 2).float() * (alpha / size)
        self.register_buffer("band", band[:, :, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float16:
            # TorchScript has no autocast of any device
            if torch.jit.is_scripting():  # type: ignore[attr-defined]
                return self._normalised(x.float()).half()
            with torch.autocast(x.device.type, enabled=False):
                return self._normalised(x.float()).half()
        return self._normalised(x)

    def _normalised(self, x: Tensor) -> Tensor:
        r = torch.rsqrt(F.conv2d(x * x, self.band.to(x.dtype)) + 1.0)
        return x * (r * torch.sqrt(r))
