"""Caffe's stochastic gradient descent (src/caffe/solvers/sgd_solver.cpp)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


class CaffeSGD(torch.optim.Optimizer):
    """SGD with momentum in velocity form: V <- momentum * V + rate * gradient, then
    W <- W - V; weight decay enters the gradient.

    torch's own form multiplies the momentum by the rate of the day: the same at a
    constant rate, and behind it where the rate falls.

    Args:
        params: groups, each with its `lr` and `weight_decay`, as for torch's SGD.
    """

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, momentum: float):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step on the gradients that are there."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            decay, gradients = group["weight_decay"], [p.grad for p in params]
            decayed = torch._foreach_add(gradients, params, alpha=decay) if decay else gradients
            velocities = [self._velocity(p) for p in params]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, decayed, alpha=group["lr"])
            torch._foreach_sub_(params, velocities)

    def _velocity(self, parameter: Tensor) -> Tensor:
        """Under torch's name, as local SGD averages it over ranks."""
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        velocity: Tensor = state["momentum_buffer"]
        return velocity
