"""The optimiser of a training, and the kernels that it uses."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, did_you_mean, first_line
from pipeline.training.flat import FlatSGD
from pipeline.training.parts import Part


def optimizer(
    config: TrainConfig, parts: Sequence[Part], device: torch.device, is_alone: bool
) -> torch.optim.Optimizer:
    """Return the optimiser, with a group for each part of the network.

    Each step sets their rates. On a CPU the weights of a rank alone are made parts of
    flat tensors; other ranks' gradients have a place of their own.

    Raises:
        InputError: timm has no such optimiser, or it does not take the arguments.
    """
    groups = [part.weights for part in parts]
    if is_alone and _may_be_flat(config, device):
        return FlatSGD(
            groups, lr=config.learning_rate, momentum=config.momentum, **kernels(config, device)
        )
    options = [{"params": group} for group in groups]
    if config.optimizer == "lars":
        # late: timm and torchvision take two seconds, and this is off by default
        from timm.optim.lars import Lars

        return Lars(options, lr=config.learning_rate, momentum=config.momentum)
    if config.optimizer != "sgd":
        return _timms(config, options)
    sgd = torch.optim.SGD(
        options, lr=config.learning_rate, momentum=config.momentum, **kernels(config, device)
    )
    if config.precision == "fp16" and config.momentum:
        # a first step that the scaler leaves out would leave a momentum of any bits
        for weight in itertools.chain(*groups):
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return sgd


def _timms(config: TrainConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    from timm import optim  # late, as above

    factory: Any = optim
    name, known = config.optimizer.removeprefix("timm:"), factory.list_optimizers()
    if name not in known:
        hint = did_you_mean(name, known) or "; see timm.optim.list_optimizers()"
        raise InputError(f"optimizer {config.optimizer}: timm has no such optimiser{hint}")
    if factory.get_optimizer_info(name).second_order:
        raise InputError(f"optimizer {config.optimizer}: needs second derivatives")
    try:
        made: torch.optim.Optimizer = factory.create_optimizer_v2(
            groups,
            opt=name,
            lr=config.learning_rate,
            momentum=config.momentum,
            **dict(config.optimizer_arguments),
        )
    except (AssertionError, ImportError, TypeError, ValueError) as error:
        raise InputError(
            f"optimizer {config.optimizer}: timm does not make it: {first_line(error)}"
        ) from None
    return made


def moved_by(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    """Return what an optimiser moves: weights, or flat tensors in which they lie."""
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def clip(weights: list[nn.Parameter], moved: list[nn.Parameter], most: float) -> None:
    """Clip the norm of the gradients of weights, which `moved` are or hold.

    The norm is summed weight by weight, so that its bits do not depend on `moved`.
    """
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    torch.nn.utils.clip_grads_with_norm_(moved, most, norm)


def _may_be_flat(config: TrainConfig, device: torch.device) -> bool:
    """Return whether the weights may lie in flat tensors.

    LARS needs each weight's norm, local SGD puts new weights in their places, a step in
    fp16 may leave no momentum, and what torch compiles has its own plan for memory.
    """
    is_plain = config.optimizer == "sgd" and config.local_sgd is None and not config.compiled
    return is_plain and config.precision != "fp16" and device.type == "cpu"


def kernels(config: TrainConfig, device: torch.device) -> dict[str, bool]:
    """Return the options of torch's optimiser that say how it computes.

    On a CPU it moves all weights at once, with the bits of one after the other. On a
    GPU one kernel does all: its last bits differ from those of several kernels. timm's
    optimisers choose by themselves.
    """
    if config.optimizer != "sgd":
        return {}
    on_gpu = device.type == "cuda"
    return {"foreach": not on_gpu, "fused": on_gpu}
