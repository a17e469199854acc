"""The losses of a step, on their way to the other ranks."""

from typing import Any

import torch
from torch import Tensor, nn


class WithLosses(nn.Module):
    """A network, and the losses of its outputs as the gradient of a parameter.

    The ranks share them with the gradients, so they cost no message of their own.
    """

    def __init__(self, network: nn.Module, num_outputs: int):
        super().__init__()
        self.network = network
        device = next(network.parameters()).device
        self.losses = nn.Parameter(torch.zeros(num_outputs, device=device))

    def forward(self, images_NCHW: Tensor) -> Any:
        return self.network(images_NCHW)
