"""Polyak averaging (paper, section 6): the model used at inference is an average of the weights along the training."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def exponential(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Update for `torch.optim.swa_utils.AveragedModel(multi_avg_fn=...)`: average = d * average + (1 - d) * weights.

    Early on d = (1 + t) / (10 + t) at update t, until that reaches `decay`, so that the initial weights are soon forgotten
    (`ours`; TensorFlow's `num_updates` rule, which Google's later ImageNet code uses).
    """

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], num_averaged: Tensor | int) -> None:
        t = int(num_averaged)
        d = min(decay, (1 + t) / (10 + t))
        torch._foreach_lerp_(list(averaged), list(current), 1.0 - d)

    return update
