"""The optimiser of a training, and the kernels that it uses."""

import torch

from pipeline.configs.train import TrainConfig
from pipeline.paper.googlenet import GoogLeNet


def optimizer(
    config: TrainConfig, network: GoogLeNet, device: torch.device
) -> torch.optim.Optimizer:
    """Return the optimiser, with a group of weights and one of biases.

    Each step sets their rates.
    """
    weights = [p for p in network.parameters() if p.ndim > 1]
    biases = [p for p in network.parameters() if p.ndim == 1]
    groups = [{"params": weights}, {"params": biases}]
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
