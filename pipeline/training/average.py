"""The average of a network's weights during a training."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from pipeline.paper.averaging import Update
from pipeline.training.flat import flat


def saved_buffers(network: nn.Module) -> list[str]:
    """Return the names of what a network keeps beside weights: the statistics of batch
    norm, and no constants, such as a norm's band.
    """
    saved = network.state_dict()
    return [name for name, _ in network.named_buffers() if name in saved]


class Average(AveragedModel):
    """Polyak's average of the weights, which one operator moves all at once.

    `AveragedModel` handles one weight after the other in Python, which is a tenth of a
    small network's step, and copies constants. The bits are the same.
    """

    def __init__(self, network: nn.Module, update: Update):
        super().__init__(network)
        self._update, self._count = update, 0
        self._averages, self._weights = list(self.module.parameters()), list(network.parameters())
        self._statistics = saved_buffers(network)
        # in a list: an attribute would be a part of the state
        self._networks = [network]

    def lie_flat(
        self, weights: Sequence[nn.Parameter], groups: Sequence[Sequence[nn.Parameter]]
    ) -> None:
        """Follow flat weights of the network; `groups` of the average become flat."""
        self._weights = list(weights)
        self._averages = [flat(group, has_gradient=False) for group in groups]

    @torch.no_grad()
    def move(self) -> None:
        """Move the average to the network's weights; nothing waits for the device."""
        if self._count:
            self._update(self._averages, self._weights, self._count)
        else:
            for average, weight in zip(self._averages, self._weights, strict=True):
                average.copy_(weight)
        for name in self._statistics:  # of batch norm; DDP may put a new buffer in its place
            self.module.get_buffer(name).copy_(self._networks[0].get_buffer(name))
        self._count += 1
        self.n_averaged += 1

    def load_state_dict(self, state_dict: Mapping[str, Any], *given: Any, **named: Any) -> Any:
        """Load an average; its number of updates is read once, here."""
        loaded = super().load_state_dict(state_dict, *given, **named)
        self._count = int(self.n_averaged)
        return loaded
