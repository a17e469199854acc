"""Training steps that people usually write, on one rank: torchvision's GoogLeNet and a
network of timm, each eager and compiled.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from pipeline.models.compiling import enable_compiling
from pipeline.models.fast_network import autocast
from pipeline.models.usual import timm_network
from pipeline.paper.googlenet import AUX_WEIGHT

TIMM = "resnet50"  # ours: the network that most benchmarks name


def peers(
    input_size: int, images: int, classes: int, precision: str, device: torch.device
) -> dict[str, Callable[[], object]]:
    """Return a step of each peer, by name: channels last, and at the same precision."""
    steps: dict[str, Callable[[], object]] = {}
    for name, make in (
        ("torchvision googlenet", _torchvision),
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


def _torchvision(classes: int) -> nn.Module:
    network: nn.Module = models.googlenet(
        weights=None, num_classes=classes, aux_logits=True, init_weights=False
    )
    return network


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
