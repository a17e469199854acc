"""Inception modules and their filter counts.

See sections 4 and 5, Fig. 2 and Table 1 of the paper.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.paper.layers import ConvReLU, max_pool


class Inception(NamedTuple):
    """The filter counts of one Inception module: a row of Table 1."""

    n1x1: int
    n3x3_reduce: int
    n3x3: int
    n5x5_reduce: int
    n5x5: int
    pool_proj: int

    @property
    def out_channels(self) -> int:
        """The channels after concatenation: 1x1, 3x3, 5x5, pool projection."""
        return self.n1x1 + self.n3x3 + self.n5x5 + self.pool_proj


# paper, Table 1
INCEPTIONS = {
    "3a": Inception(64, 96, 128, 16, 32, 32),
    "3b": Inception(128, 128, 192, 32, 96, 64),
    "4a": Inception(192, 96, 208, 16, 48, 64),
    "4b": Inception(160, 112, 224, 24, 64, 64),
    "4c": Inception(128, 128, 256, 24, 64, 64),
    "4d": Inception(112, 144, 288, 32, 64, 64),
    "4e": Inception(256, 160, 320, 32, 128, 128),
    "5a": Inception(256, 160, 320, 32, 128, 128),
    "5b": Inception(384, 192, 384, 48, 128, 128),
}
POOL_AFTER = ("3b", "4e")  # paper, Table 1: 3x3/2 max pools between the blocks 3, 4 and 5


def scaled(channels: int, width: float) -> int:
    """Return a number of channels times `width`, as a multiple of 8.

    The multiple of 8 is `ours`: vector units are fast on it. Width 1 changes nothing.

    >>> scaled(64, 1.0), scaled(24, 0.5), scaled(16, 0.25)
    (64, 16, 8)
    """
    return channels if width == 1.0 else max(8, 8 * math.floor(channels * width / 8 + 0.5))


def large_filter(in_channels: int, channels: int, batch_norm: bool, two_3x3: bool) -> nn.Module:
    """Return a 5x5 convolution (paper, Fig. 2), or two of 3x3 (1502.03167, appendix),
    which see the same pixels.
    """
    if not two_3x3:
        return ConvReLU(in_channels, channels, 5, batch_norm=batch_norm)
    return nn.Sequential(
        ConvReLU(in_channels, channels, 3, batch_norm=batch_norm),
        ConvReLU(channels, channels, 3, batch_norm=batch_norm),
    )


class InceptionModule(nn.Module):
    """Four parallel branches, concatenated along channels (paper, Fig. 2b)."""

    out_channels: int

    def __init__(
        self, in_channels: int, n: Inception, batch_norm: bool = False, two_3x3: bool = False
    ):
        super().__init__()
        self.out_channels = n.out_channels
        self.branch1x1 = ConvReLU(in_channels, n.n1x1, 1, batch_norm=batch_norm)
        self.branch3x3_reduce = ConvReLU(in_channels, n.n3x3_reduce, 1, batch_norm=batch_norm)
        self.branch3x3 = ConvReLU(n.n3x3_reduce, n.n3x3, 3, batch_norm=batch_norm)
        self.branch5x5_reduce = ConvReLU(in_channels, n.n5x5_reduce, 1, batch_norm=batch_norm)
        self.branch5x5 = large_filter(n.n5x5_reduce, n.n5x5, batch_norm, two_3x3)
        self.pool = max_pool(stride=1)
        self.pool_proj = ConvReLU(in_channels, n.pool_proj, 1, batch_norm=batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            (
                self.branch1x1(x),
                self.branch3x3(self.branch3x3_reduce(x)),
                self.branch5x5(self.branch5x5_reduce(x)),
                self.pool_proj(self.pool(x)),
            ),
            dim=1,
        )


class NaiveInceptionModule(nn.Module):
    """The naive module (paper, Fig. 2a): it has neither reductions nor a projection.

    The pooled input keeps all its channels, so they grow from module to module.
    """

    out_channels: int

    def __init__(
        self, in_channels: int, n: Inception, batch_norm: bool = False, two_3x3: bool = False
    ):
        super().__init__()
        self.out_channels = n.n1x1 + n.n3x3 + n.n5x5 + in_channels
        self.branch1x1 = ConvReLU(in_channels, n.n1x1, 1, batch_norm=batch_norm)
        self.branch3x3 = ConvReLU(in_channels, n.n3x3, 3, batch_norm=batch_norm)
        self.branch5x5 = large_filter(in_channels, n.n5x5, batch_norm, two_3x3)
        self.pool = max_pool(stride=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            (self.branch1x1(x), self.branch3x3(x), self.branch5x5(x), self.pool(x)), dim=1
        )
