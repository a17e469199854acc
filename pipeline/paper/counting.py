"""Counts of a network's parts: outputs, weights, biases and multiply-adds."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.paper.googlenet import GoogLeNet


class Count(NamedTuple):
    """The size and the cost of a part of the network.

    `macs` are the multiply-adds of one image; biases do not count.
    """

    output: tuple[int, ...]
    weights: int
    biases: int
    macs: int


def count_parts(network: GoogLeNet) -> dict[str, Count]:
    """Count every submodule of a network, by name, for one image of its input size.

    The name of the whole network is "". Only shapes are computed (on torch's meta
    device), so this takes milliseconds.
    """
    network = network.to("meta").eval()
    macs: dict[str, int] = {}
    outputs: dict[str, tuple[int, ...]] = {}
    modules = dict(network.named_modules())

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        outputs[name] = tuple(output.shape[1:])
        if isinstance(module, nn.Conv2d | nn.Linear):
            macs[name] = module.weight[0].numel() * output.numel()

    hooks = [
        module.register_forward_hook(lambda m, _, out, n=name: note(n, m, out))
        for name, module in modules.items()
    ]
    network(torch.zeros(1, 3, network.input_size, network.input_size, device="meta"))
    for hook in hooks:
        hook.remove()
    return {name: _count(name, modules[name], output, macs) for name, output in outputs.items()}


def _count(name: str, module: nn.Module, output: tuple[int, ...], macs: dict[str, int]) -> Count:
    inside = sum(
        value for key, value in macs.items() if name in ("", key) or key.startswith(f"{name}.")
    )
    weights = sum(p.numel() for p in module.parameters() if p.ndim > 1)
    biases = sum(p.numel() for p in module.parameters() if p.ndim == 1)
    return Count(output, weights, biases, inside)
