"""Training steps that people usually write, on one rank: torchvision's GoogLeNet and a
network of timm, each eager and compiled.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.googlenet import BasicConv2d, GoogLeNet, Inception, InceptionAux

from pipeline.models.compiling import enable_compiling
from pipeline.models.fast_network import autocast
from pipeline.models.making import timm_network
from pipeline.paper.googlenet import AUX_WEIGHT
from pipeline.paper.inception import scaled

TIMM = "resnet50"  # ours: the network that most benchmarks name
# an Inception block concatenates these of its channels; the others are reductions
OUTPUTS = (0, 2, 4, 5)


def peers(
    input_size: int, images: int, classes: int, precision: str, device: torch.device
) -> dict[str, Callable[[], object]]:
    """Return a step of each peer, by name: channels last, and at the same precision."""
    steps: dict[str, Callable[[], object]] = {}
    for name, make in (
        ("torchvision googlenet", torchvision_googlenet),
        (f"timm {TIMM}", _timm),
    ):
        for compiled in (False, True):
            network = make(classes).train().to(device).to(memory_format=torch.channels_last)
            model = network
            if compiled:
                enable_compiling(device)
                model = torch.compile(network, dynamic=False)  # type: ignore[assignment]
            shape = (images, 3, input_size, input_size)
            pixels = torch.randn(shape, device=device).to(memory_format=torch.channels_last)
            labels = torch.randint(0, classes, (images,), device=device)
            optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
            steps[f"{name}, compiled" if compiled else name] = partial(
                usual_step, model, optimizer, pixels, labels, precision
            )
    return steps


def torchvision_googlenet(classes: int, width: float = 1.0) -> nn.Module:
    """Return torchvision's GoogLeNet with two heads; `width` scales its channels as it
    does ours.
    """
    scaling = _Scaling(width)
    blocks = [scaling.conv, scaling.inception, scaling.head]
    network: nn.Module = GoogLeNet(classes, init_weights=False, blocks=blocks)
    network.fc = nn.Linear(scaling.before, classes)
    return network


class _Scaling:
    """Makes torchvision's blocks, in the order in which its network asks for them."""

    def __init__(self, width: float):
        self.width, self.before = width, 3
        self.heads: dict[int, int] = {}  # channels at width 1 -> here, where they come first

    def conv(self, _: int, channels: int, **options: Any) -> nn.Module:
        before, self.before = self.before, scaled(channels, self.width)
        block: nn.Module = BasicConv2d(before, self.before, **options)
        return block

    def inception(self, _: int, *channels: int) -> nn.Module:
        parts = [scaled(number, self.width) for number in channels]
        block: nn.Module = Inception(self.before, *parts)
        self.before = sum(parts[k] for k in OUTPUTS)
        self.heads.setdefault(sum(channels[k] for k in OUTPUTS), self.before)
        return block

    def head(self, before: int, classes: int, dropout: float) -> nn.Module:
        head: nn.Module = InceptionAux(self.heads[before], classes, dropout=dropout)
        channels, hidden = scaled(128, self.width), scaled(1024, self.width)
        head.conv = BasicConv2d(self.heads[before], channels, kernel_size=1)
        head.fc1 = nn.Linear(16 * channels, hidden)
        head.fc2 = nn.Linear(hidden, classes)
        return head


def _timm(classes: int) -> nn.Module:
    return timm_network(TIMM, classes)


def usual_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pixels: torch.Tensor,
    labels: torch.Tensor,
    precision: str,
) -> None:
    """Take one step; the losses of two further outputs have the paper's weight."""
    with autocast(pixels.device, precision):
        outputs = model(pixels)
    weights = (1, AUX_WEIGHT, AUX_WEIGHT) if isinstance(outputs, tuple) else (1,)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    losses = [
        weight * F.cross_entropy(logits.float(), labels)
        for weight, logits in zip(weights, outputs, strict=True)
    ]
    torch.stack(losses).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
