"""The optimiser of a training, and the kernels that it uses."""

import torch
from torch import nn

from pipeline.configs.train import TrainConfig
from pipeline.paper.googlenet import GoogLeNet
from pipeline.training.flat import FlatSGD


def groups_of(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the weights and the biases of a network."""
    parameters = list(network.parameters())
    return [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim == 1]


def optimizer(
    config: TrainConfig, network: GoogLeNet, device: torch.device, is_alone: bool
) -> torch.optim.Optimizer:
    """Return the optimiser, with a group of weights and one of biases.

    Each step sets their rates. On a CPU the weights of a rank alone are made parts of
    flat tensors; other ranks' gradients have a place of their own.
    """
    if is_alone and _may_be_flat(config, device):
        return FlatSGD(
            groups_of(network),
            lr=config.learning_rate,
            momentum=config.momentum,
            **kernels(config, device),
        )
    groups = [{"params": group} for group in groups_of(network)]
    if config.optimizer == "lars":
        # late: timm and torchvision take two seconds, and this is off by default
        from timm.optim.lars import Lars

        return Lars(groups, lr=config.learning_rate, momentum=config.momentum)
    sgd = torch.optim.SGD(
        groups, lr=config.learning_rate, momentum=config.momentum, **kernels(config, device)
    )
    if config.precision == "fp16" and config.momentum:
        # a first step that the scaler leaves out would leave a momentum of any bits
        for weight in network.parameters():
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
    return sgd


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
    LARS chooses by itself.
    """
    if config.optimizer == "lars":
        return {}
    on_gpu = device.type == "cuda"
    return {"foreach": not on_gpu, "fused": on_gpu}
