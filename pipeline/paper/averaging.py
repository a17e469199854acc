"""Polyak averaging (paper, section 6).

The model at inference is an average of the weights during the training. The paper does
not say which average. Each function returns an update for
`torch.optim.swa_utils.AveragedModel(multi_avg_fn=...)`.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Update = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]


def exponential(decay: float) -> Update:
    """Return the update average = d * average + (1 - d) * weights.

    This is Google's later choice. At update t, d is (1 + t) / (10 + t) until that
    reaches `decay`, so the initial weights soon have no effect (`ours`; it is
    TensorFlow's `num_updates` rule, which Google's later ImageNet code uses).
    """
    return _towards(lambda t: 1.0 - min(decay, (1 + t) / (10 + t)))


def equal() -> Update:
    """Return the update for the mean of the weights after every step, as Polyak's."""
    return _towards(lambda t: 1.0 / (1 + t))


def _towards(share: Callable[[int], float]) -> Update:
    @torch.no_grad()
    def update(
        averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor | int
    ) -> None:
        _move(list(averaged), list(current), share(int(num_averaged)))

    return update


def _move(averaged: list[Tensor], current: list[Tensor], share: float) -> None:
    """Move each average a share of its way to the weights.

    An operator that is private to torch (tried with 2.14) moves all at once. Where it
    is missing, they are moved one by one.
    """
    if (move_all := getattr(torch, "_foreach_lerp_", None)) is not None:
        move_all(averaged, current, share)
        return
    for average, weights in zip(averaged, current, strict=True):
        average.lerp_(weights, share)
