"""Initial weights. The paper is silent on them; each rule here says where it comes
from.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


def initialise_kaiming(network: nn.Module, generator: torch.Generator) -> None:
    """Normal weights of variance 2 / fan_in, zero biases; classifiers start at a tenth
    of that (`ours`).

    Without batch norm this keeps the signal's variance through 22 layers of ReLU.
    """
    for name, weight, bias in _layers(network):
        fan_in = weight[0].numel()
        gain = 0.1 if name.endswith("classifier") else 1.0
        nn.init.normal_(weight, 0.0, gain * math.sqrt(2.0 / fan_in), generator=generator)
        if bias is not None:
            nn.init.zeros_(bias)


def initialise_caffe(network: nn.Module, generator: torch.Generator) -> None:
    """Caffe's quick recipe: uniform weights of variance 1 / fan_in; biases 0.2, and 0
    in the classifiers. Made for pixels of 0..255 less their mean: on pixels divided by
    their deviation the biases drown the image.
    """
    for name, weight, bias in _layers(network):
        bound = math.sqrt(3.0 / weight[0].numel())
        nn.init.uniform_(weight, -bound, bound, generator=generator)
        if bias is not None:
            nn.init.constant_(bias, 0.0 if name.endswith("classifier") else 0.2)


def initialise_gaussian(network: nn.Module, generator: torch.Generator) -> None:
    """Normal weights of deviation 0.01, zero biases: AlexNet's. Caffe's author says
    that the original was Gaussian, not of what deviation; at this one the signal fades
    in so deep a network, and training is slow to start.
    """
    for _, weight, bias in _layers(network):
        nn.init.normal_(weight, 0.0, 0.01, generator=generator)
        if bias is not None:
            nn.init.zeros_(bias)


def _layers(network: nn.Module) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            yield name, layer.weight, layer.bias


INITIALISATIONS: dict[str, Callable[[nn.Module, torch.Generator], None]] = {
    "kaiming": initialise_kaiming,
    "caffe": initialise_caffe,
    "gaussian": initialise_gaussian,
}
