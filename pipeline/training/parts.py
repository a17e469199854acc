"""The parts of a network that learn, each at its rate and decay."""

from typing import NamedTuple

from torch import nn

from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, did_you_mean


class Part(NamedTuple):
    """Weights that share a rate and a decay: factors on those of the training."""

    weights: list[nn.Parameter]
    rate: float = 1.0
    decay: float = 1.0


def parts_of(config: TrainConfig, network: nn.Module) -> list[Part]:
    """Return what learns: first the weights, then the biases (and all else of one
    dimension), of the network and then of each part with a rate of its own.

    A weight that several names of `rates` fit has the rate of the longest.

    Raises:
        InputError: the network has no part of a name, or nothing learns.
    """
    factors = {"": 1.0} | dict(config.rates)
    for name, _ in config.rates:
        _refuse_absent(name, network, "rates")
        if [each for each, _ in config.rates].count(name) > 1:
            raise InputError(f"rates {name!r}: is there twice; expected each part once")
    chosen: dict[tuple[str, bool], list[nn.Parameter]] = {
        (name, is_weight): [] for name in factors for is_weight in (True, False)
    }
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            part = max((each for each in factors if _is_of(name, each)), key=len)
            chosen[part, parameter.ndim > 1].append(parameter)
    for name, _ in config.rates:
        if not (chosen[name, True] or chosen[name, False]):
            raise InputError(f"rates {name!r}: nothing in it learns at that rate; see `frozen`")
    parts = [
        Part(weights, factors[name])
        if is_weight
        else Part(weights, factors[name] * config.bias_rate, config.bias_decay)
        for (name, is_weight), weights in chosen.items()
        if weights
    ]
    if not parts:
        raise InputError(f"frozen {', '.join(config.frozen)}: nothing is left that learns")
    return parts


def freeze(network: nn.Module, names: tuple[str, ...]) -> None:
    """Keep parts of a network as they are: weights, and statistics of batch norm.

    Raises:
        InputError: the network has no such part.
    """
    for name in names:
        _refuse_absent(name, network, "frozen")
        for each, parameter in network.named_parameters():
            if _is_of(each, name):
                parameter.requires_grad_(False)
        for each, module in network.named_modules():
            if _is_of(each, name):
                module.eval()


def _is_of(name: str, part: str) -> bool:
    return not part or name == part or name.startswith(f"{part}.")


def _refuse_absent(part: str, network: nn.Module, field: str) -> None:
    names = [name for name, _ in network.named_parameters()]
    if not part or not any(_is_of(name, part) for name in names):
        tops = list(dict.fromkeys(name.partition(".")[0] for name in names))
        inner = sorted({name.rpartition(".")[0] for name in names})
        hint = (
            did_you_mean(part, inner if "." in part else tops) or f"; its parts: {', '.join(tops)}"
        )
        raise InputError(f"{field} {part!r}: the network has no such part{hint}")
