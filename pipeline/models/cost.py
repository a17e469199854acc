"""What a network costs: its parameters, and the multiply-adds of an image."""

import copy
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Cost(NamedTuple):
    """`multiply_adds` are of convolutions and linear layers, as in Table 1; None where
    torch cannot tell from shapes alone.
    """

    num_parameters: int
    multiply_adds: int | None


def cost_of(network: nn.Module, side: int) -> Cost:
    """Return the cost of a network with square inputs of `side` pixels."""
    parameters = sum(parameter.numel() for parameter in network.parameters())
    total = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        total += next(module.parameters())[0].numel() * output.numel()

    with suppress(Exception):  # a user's network may need values
        shapes = copy.deepcopy(network).to("meta").eval()
        for module in shapes.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.register_forward_hook(count)
        shapes(torch.zeros(1, 3, side, side, device="meta"))
        return Cost(parameters, total or None)
    return Cost(parameters, None)
