"""The network of Table 1 (paper, sections 4 and 5).

It is Inception v1 with local response normalisation and two auxiliary heads. Details of
layers that the paper leaves out are those of Caffe's `bvlc_googlenet` (the only
faithful public network), and are marked so. The defaults are the paper's network.
"""

from collections.abc import Collection
from functools import cache
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.paper.heads import AUX_DROPOUT, AuxiliaryHead, FullyConnectedHead
from pipeline.paper.inception import (
    INCEPTIONS,
    POOL_AFTER,
    Inception,
    InceptionModule,
    NaiveInceptionModule,
    scaled,
)
from pipeline.paper.layers import ConvReLU, LocalResponseNorm, SeparableConvReLU, max_pool
from pipeline.paper.preprocessing import Preprocessing

INPUT_SIZE = 224  # paper, section 5: the receptive field of the network
AUX_WEIGHT = 0.3  # paper, section 5: weight of each auxiliary loss
DROPOUT = 0.4  # paper, section 5
AUX_HEADS = ("4a", "4d")  # paper, section 5: on top of the outputs of 4a and 4d

Conv1 = Literal["dense", "separable"]
Modules = Literal["reduced", "naive"]
Fives = Literal["5x5", "two_3x3"]
Norm = Literal["lrn", "batch", "none"]
Head = Literal["average", "fully_connected"]


class Logits(NamedTuple):
    """The outputs of a training step, each N x classes.

    `aux` has the outputs of the auxiliary heads, shallow first.
    """

    main: Tensor
    aux: tuple[Tensor, ...]


class GoogLeNet(nn.Module):
    """GoogLeNet (paper, Table 1).

    It has 6,998,552 parameters, and 13,378,280 with both auxiliary heads.

    Args:
        num_classes: 1000 in the paper.
        input_size: side of the square input in pixels: 224 in the paper, at least 32.
        width: scales all channel counts; 1.0 is the paper's network. The paper does not
            describe the ensemble's one wider member (section 7); 1.25 is our choice.
        aux_heads: the modules with an auxiliary head: any of 4a and 4d.
        dropout: share of the pooled features that training drops.
        aux_dropout: share of each auxiliary head's hidden units that training drops.
        conv1: `separable` is a depthwise 7x7 with 8 filters a channel and a 1x1
            convolution. It explains Table 1's 2.7K parameters and 34M operations, and
            the budget of 1.5 G; Xception (1610.02357) says that Inception V1 had it.
        modules: `naive` modules are Fig. 2a's.
        fives: `two_3x3` are two 3x3 convolutions for each 5x5, as in 1502.03167.
        norm: `batch` puts batch norm behind every convolution in place of LRN
            (1502.03167); `none` has neither LRN nor batch norm.
        head: `fully_connected` is the head that average pooling replaced.

    The forward pass takes images (N x 3 x side x side, float) and returns the main
    logits (N x classes). In training mode auxiliary heads run too; it returns `Logits`.

    >>> network = GoogLeNet(aux_heads=())
    >>> sum(p.numel() for p in network.parameters())
    6998552
    """

    def __init__(
        self,
        num_classes: int = 1000,
        input_size: int = INPUT_SIZE,
        width: float = 1.0,
        aux_heads: Collection[str] = AUX_HEADS,
        dropout: float = DROPOUT,
        aux_dropout: float = AUX_DROPOUT,
        conv1: Conv1 = "dense",
        modules: Modules = "reduced",
        norm: Norm = "lrn",
        head: Head = "average",
        fives: Fives = "5x5",
    ):
        super().__init__()
        for name, value, valid in (
            ("conv1", conv1, get_args(Conv1)),
            ("modules", modules, get_args(Modules)),
            ("norm", norm, get_args(Norm)),
            ("fives", fives, get_args(Fives)),
            ("head", head, get_args(Head)),
            *(("aux_heads", module, AUX_HEADS) for module in aux_heads),
        ):
            if value not in valid:
                raise ValueError(f"{name} = {value!r}: expected one of {', '.join(valid)}")
        self.input_size = input_size
        bn = norm == "batch"
        stem, channels = scaled(64, width), scaled(192, width)
        conv1_type = ConvReLU if conv1 == "dense" else SeparableConvReLU
        self.conv1 = conv1_type(3, stem, 7, stride=2, batch_norm=bn)
        self.pool1: nn.Module = max_pool(stride=2)
        self.norm1: nn.Module = LocalResponseNorm(stem) if norm == "lrn" else nn.Identity()
        self.conv2_reduce = ConvReLU(stem, stem, 1, batch_norm=bn)
        self.conv2 = ConvReLU(stem, channels, 3, batch_norm=bn)
        self.norm2: nn.Module = LocalResponseNorm(channels) if norm == "lrn" else nn.Identity()
        self.pool2: nn.Module = max_pool(stride=2)

        grid = (input_size + 1) // 2 // 2 // 2
        module_type: type[InceptionModule | NaiveInceptionModule] = (
            InceptionModule if modules == "reduced" else NaiveInceptionModule
        )
        self.inceptions = nn.ModuleDict()
        self.pools = nn.ModuleDict()
        self.aux_heads = nn.ModuleDict()
        for name, row in INCEPTIONS.items():
            counts = Inception(*(scaled(n, width) for n in row))
            module = module_type(channels, counts, bn, fives == "two_3x3")
            self.inceptions[name] = module
            channels = module.out_channels
            if name in aux_heads:
                self.aux_heads[name] = AuxiliaryHead(
                    channels, num_classes, grid, width, bn, aux_dropout
                )
            if name in POOL_AFTER:
                self.pools[name] = max_pool(stride=2)
                grid //= 2

        self.grid, self.is_dense = grid, head == "average"
        features = channels if self.is_dense else scaled(1024, width)
        self.head: nn.Module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        if not self.is_dense:
            self.head = FullyConnectedHead(channels, grid, features)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(features, num_classes)

    def forward(self, images_NCHW: Tensor) -> Tensor | Logits:
        x, aux = self._features(images_NCHW)
        logits = self.classifier(self.dropout(self.head(x)))
        return Logits(logits, tuple(aux)) if aux else logits

    def dense(self, images_NCHW: Tensor) -> Tensor:
        """Return logits at every place of larger images: N x classes x rows x columns.

        This needs evaluation mode and average pooling. The average pool moves in steps
        of 32 pixels, as in VGG's dense evaluation (1409.1556, section 3.2). Crops give
        other logits: zeros surround a crop, the image surrounds a place.
        """
        pooled = F.avg_pool2d(self._features(images_NCHW)[0], self.grid, 1)
        logits: Tensor = self.classifier(pooled.permute(0, 2, 3, 1))
        return logits.permute(0, 3, 1, 2)

    def _features(self, images_NCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the map below the head, and in training the auxiliary outputs."""
        x = self.norm1(self.pool1(self.conv1(images_NCHW)))
        x = self.pool2(self.norm2(self.conv2(self.conv2_reduce(x))))
        aux: list[Tensor] = []
        for name, module in self.inceptions.items():
            x = module(x)
            if self.training and name in self.aux_heads:
                aux.append(self.aux_heads[name](x))
            if name in self.pools:
                x = self.pools[name](x)
        return x, aux


def normalise(pixels_NHWC: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Return the network's input from RGB bytes (N x H x W x 3, uint8).

    It is N x 3 x H x W, float32, with channels last in memory.
    """
    pixels = pixels_NHWC if preprocessing.channel_order == "rgb" else pixels_NHWC.flip(3)
    # by rows: torch takes five times as long to repeat three values within one
    mean, std = on_device(preprocessing, pixels.device).repeat(1, pixels.shape[2]).unbind()
    return ((pixels.float().flatten(2) - mean) / std).view(pixels.shape).permute(0, 3, 1, 2)


@cache
def on_device(preprocessing: Preprocessing, device: torch.device) -> Tensor:
    """Copy mean and deviation, two rows, to a device, once: each copy waits for it."""
    values = (preprocessing.mean, preprocessing.std)
    return torch.tensor(values, dtype=torch.float32, device=device)


def output_losses(logits: Logits, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Return the cross entropy of each output: a vector of 1 + heads.

    The main output is first, then the heads, shallow first.
    """
    outputs = (logits.main, *logits.aux)
    return torch.stack(
        [F.cross_entropy(x.float(), labels, label_smoothing=label_smoothing) for x in outputs]
    )


def training_loss(losses: Tensor, aux_weight: float = AUX_WEIGHT) -> Tensor:
    """Return the main loss plus `aux_weight` times each head's (paper, section 5).

    `losses` are those of `output_losses`.
    """
    return losses[0] + aux_weight * losses[1:].sum()
