"""Initial weights. The paper does not state them; each rule here names its source."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


def initialise_kaiming(network: nn.Module, generator: torch.Generator | None) -> None:
    """Draw normal weights of variance 2 / fan_in; biases are 0.

    Classifiers have a tenth of this deviation (`ours`). Without batch norm, the rule
    keeps the signal's variance through 22 layers of ReLU. Without a generator, torch's
    own draws them.
    """
    for name, weight, bias in _layers(network):
        fan_in = weight[0].numel()
        gain = 0.1 if name.endswith("classifier") else 1.0
        nn.init.normal_(weight, 0.0, gain * math.sqrt(2.0 / fan_in), generator=generator)
        if bias is not None:
            nn.init.zeros_(bias)


def initialise_caffe(network: nn.Module, generator: torch.Generator) -> None:
    """Draw uniform weights of variance 1 / fan_in, as Caffe's quick recipe does.

    Biases are 0.2, and 0 in the classifiers. The rule suits pixels of 0..255 less their
    mean. Where pixels are also divided by their deviation, the biases hide the image.
    """
    for name, weight, bias in _layers(network):
        bound = math.sqrt(3.0 / weight[0].numel())
        nn.init.uniform_(weight, -bound, bound, generator=generator)
        if bias is not None:
            nn.init.constant_(bias, 0.0 if name.endswith("classifier") else 0.2)


def initialise_gaussian(network: nn.Module, generator: torch.Generator) -> None:
    """Draw normal weights of deviation 0.01, as in AlexNet; biases are 0.

    Caffe's author says that the original weights were Gaussian, but does not state
    their deviation. With 0.01 the signal fades in so deep a network, and training
    starts slowly.
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
