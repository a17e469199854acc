"""Make a network: a GoogLeNet of ours, one of timm or torchvision, or a user's own."""

import copy
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.configs.evaluate import TRANSFORMING
from pipeline.configs.network import AnyNetwork, NetworkConfig
from pipeline.configs.user_file import errors_of, python_function
from pipeline.errors import InputError, did_you_mean, first_line, present
from pipeline.paper.googlenet import GoogLeNet, Logits
from pipeline.runtime import disk


def network_of(config: AnyNetwork, num_classes: int, seed: int | None = None) -> nn.Module:
    """Return the network of a config; its weights are drawn as its makers draw them.

    `seed` begins torch's generator for that time alone.

    Raises:
        InputError: there is no such network, it does not take the arguments, or its
            file is no longer the one of the config.
    """
    if isinstance(config, NetworkConfig):
        return GoogLeNet(num_classes, **config.model_dump())
    if config.code and config.code.is_file() and disk.sha256(config.code) != config.code_sha256:
        raise InputError(f"{config.code}: is no longer the file that the training was defined with")
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return made(config.arch, num_classes, dict(config.arguments), config.code)


def made(
    arch: str, num_classes: int, arguments: Mapping[str, Any], code: Path | None = None
) -> nn.Module:
    """Return timm:NAME, torchvision:NAME, or python:FUNCTION of the file `code`.

    Raises:
        InputError: there is no such network, or it does not take the arguments.
    """
    family, _, name = arch.partition(":")
    if family == "python":
        return _users_network(present(code, arch), name, num_classes, arguments)
    if family == "timm":
        return timm_network(name, num_classes, **arguments)
    models = torchvision_with(name)
    if arch in TRANSFORMING:  # as today; torchvision warns that it will draw otherwise
        arguments = {"init_weights": True, **arguments}
    try:
        network: nn.Module = models.get_model(
            name, weights=None, num_classes=num_classes, **arguments
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"{arch}: torchvision does not make it: {first_line(error)}") from None
    return network


def torchvision_with(name: str) -> Any:
    """Return torchvision's models, after a check that one of them has this name.

    The import is late, because training ranks do not need torchvision.
    """
    from torchvision import models

    if name not in models.list_models(module=models):
        near = did_you_mean(name, models.list_models(module=models))
        hint = near or "; see torchvision.models.list_models()"
        raise InputError(f"torchvision:{name}: no such classifier{hint}")
    return models


def timm_with(name: str) -> Any:
    """Return timm, after a check that it has a model of this name.

    The import is late, because training ranks do not need timm.
    """
    import timm

    if not timm.is_model(name) or ("." in name and name not in timm.list_pretrained(name)):
        near = did_you_mean(name, timm.list_models() if "." not in name else timm.list_pretrained())
        raise InputError(f"timm:{name}: no such model{near or '; see timm.list_models()'}")
    return timm


def timm_network(name: str, num_classes: int | None = None, **arguments: Any) -> nn.Module:
    """Return timm's network of this name, without weights; old names are known too.

    Raises:
        InputError: there is no such model, timm no longer makes it, or it does not take
            the arguments.
    """
    timm = timm_with(name)
    try:
        with warnings.catch_warnings():  # of an old name; `notes` reports it
            warnings.filterwarnings("ignore", "Mapping deprecated model name")
            network: nn.Module = timm.create_model(
                name, pretrained=False, num_classes=num_classes, **arguments
            )
    # of names that lead nowhere, and of arguments
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"timm:{name}: timm does not make it: {first_line(error)}") from None
    return network


class _CallableNetwork(nn.Module):
    """A network that calls a user's function from images to logits."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.function(images_NCHW)


def as_network(network: Callable[[Tensor], Tensor]) -> nn.Module:
    """Return a module, or any function from images to logits as one."""
    return network if isinstance(network, nn.Module) else _CallableNetwork(network)


def _users_network(
    path: Path, name: str, num_classes: int, arguments: Mapping[str, Any]
) -> nn.Module:
    """Return the network that the function `name(num_classes)` of a user's file makes.

    The function returns a module, or any callable from images to logits.
    """
    function = python_function(path, name, f"def {name}(num_classes): returning a torch module")
    with errors_of(path):
        network = function(num_classes, **arguments)
    if not callable(network):
        kind = type(network).__name__
        raise InputError(
            f"{path}: {name}(num_classes) returned {kind}; expected a module or a function, images"
            " -> logits"
        )
    return as_network(network)


def as_logits(output: Any) -> Logits:
    """Return a network's output in training: its logits, and those of its heads.

    Networks of libraries return a tensor, or a tuple whose first item is the main one.
    """
    if isinstance(output, Logits):
        return output
    main, *others = output if isinstance(output, tuple) else (output,)
    if not isinstance(main, Tensor):
        raise TypeError(f"returns {type(main).__name__}; expected logits, or a tuple of them")
    return Logits(main, tuple(each for each in others if each is not None))


def refuse_wrong_outputs(
    network: nn.Module,
    config: AnyNetwork,
    num_classes: int,
    names: tuple[str, ...],
    num_images: int = 2,
) -> None:
    """Try a copy of a network that is to be trained on images of zeros.

    Raises:
        InputError: it fails, has no logits of num_images x num_classes, another number
            of outputs than `names`, or weights that are to learn and have no part in
            them.
    """
    side, tried = config.input_size, copy.deepcopy(network).train()
    try:
        with torch.random.fork_rng(devices=[]):
            output = as_logits(tried(torch.zeros(num_images, 3, side, side)))
        outputs = (output.main, *output.aux)
        shapes = [tuple(each.shape) for each in outputs]
    except Exception as error:
        raise InputError(
            f"{config.arch}: fails on a batch of {num_images} of {side} px: {first_line(error)}"
        ) from None
    if len(shapes) != len(names):
        raise InputError(
            f"{config.arch}: returns {len(shapes)} outputs in training, and has names for"
            f" {', '.join(names)}; `heads` names those behind the first, or an argument such as"
            " aux_logits=False takes them off"
        )
    expected = (num_images, num_classes)
    if wrong := next((shape for shape in shapes if shape != expected), None):
        raise InputError(
            f"{config.arch}: gives shape {wrong} for a batch of {num_images}; expected {expected}"
        )
    total = torch.stack([each.sum() for each in outputs]).sum()
    if total.requires_grad:
        total.backward()
    learners = {name: each for name, each in tried.named_parameters() if each.requires_grad}
    if idle := [name for name, weight in learners.items() if weight.grad is None]:
        raise InputError(
            f"{config.arch}: its outputs in training do not depend on {', '.join(idle[:3])}"
            f"{' and others' * (len(idle) > 3)}, which could not learn; take them off, or name them"
            " in `frozen` (--freeze)"
        )
