"""The weights of a network as parts of few flat tensors, each of which one operation
moves: a small network has over a hundred weights, and each operation has its price.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import present

ALIGNED = 16  # ours: numbers in the processor's widest vector; each weight begins with one


def flat(weights: Sequence[nn.Parameter], has_gradient: bool) -> nn.Parameter:
    """Make weights, and on request their gradients, parts of one flat parameter.

    Values and strides stay. The new gradients are 0. Return the flat parameter.
    """
    home = nn.Parameter(torch.zeros(sum(map(_room, weights))), has_gradient)
    for weight, part in zip(weights, parts(home.detach(), weights), strict=True):
        weight.data = part.copy_(weight.detach())
    if has_gradient:
        home.grad = torch.zeros_like(home)
        for weight, part in zip(weights, parts(home.grad, weights), strict=True):
            weight.grad = part
    return home


def parts(home: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Return the parts of a flat tensor that have the sizes and strides of weights."""
    rooms = home.split([_room(weight) for weight in weights])
    return [
        room.as_strided(weight.shape, weight.stride(), room.storage_offset())
        for room, weight in zip(rooms, weights, strict=True)
    ]


def _room(weight: Tensor) -> int:
    return -(-weight.numel() // ALIGNED) * ALIGNED


class FlatSGD(torch.optim.SGD):
    """torch's SGD of groups of weights, each of which it makes flat.

    Weights and momentum have the bits of torch's SGD, and the saved state is that of
    the single weights. Gradients are set to 0 between steps: they stay where they are.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Parameter]], **options: Any):
        self._groups = groups
        self._homes = [flat(group, has_gradient=True) for group in groups]
        super().__init__([{"params": [home]} for home in self._homes], **options)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Set all gradients to 0."""
        for home in self._homes:
            present(home.grad, "a gradient").zero_()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the single weights, whose momenta are parts of ours."""
        ours, first = super().state_dict(), 0
        state: dict[int, dict[str, Tensor]] = {}
        groups = []
        for key, weights in enumerate(self._groups):
            numbers = list(range(first, first + len(weights)))
            first += len(weights)
            groups.append(ours["param_groups"][key] | {"params": numbers})
            for name, value in ours["state"].get(key, {}).items():
                for number, part in zip(numbers, parts(value, weights), strict=True):
                    state.setdefault(number, {})[name] = part
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of single weights."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, (home, weights) in enumerate(zip(self._homes, self._groups, strict=True)):
            for number, part in enumerate(state_dict["param_groups"][key]["params"]):
                for name, value in state_dict["state"].get(part, {}).items():
                    ours = state.setdefault(key, {})
                    if name not in ours:
                        ours[name] = torch.zeros_like(home, requires_grad=False)
                    parts(ours[name], weights)[number].copy_(value)
        groups = [group | {"params": [key]} for key, group in enumerate(state_dict["param_groups"])]
        super().load_state_dict({"state": state, "param_groups": groups})
