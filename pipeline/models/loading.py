"""Load the classifier that a config names: a run of ours, or a foreign network.

Foreign networks come from Caffe, torchvision, timm or a user's Python file.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.configs.base import differences
from pipeline.configs.evaluate import ForeignConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, present
from pipeline.models.making import made, network_of
from pipeline.models.weights import note_in, read_weights, under_names
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.preprocessing import Preprocessing

HEADS = ("aux1", "AuxLogits")  # torchvision's names of the first auxiliary classifier


class Classifier(NamedTuple):
    """A network and its preprocessing; N x 3 x side x side becomes N x classes."""

    network: nn.Module
    preprocessing: Preprocessing
    input_size: int
    remark: str = ""  # on how its weights were read


def our_classifier(run: TrainConfig, weights: dict[str, Tensor], num_classes: int) -> Classifier:
    """Return a run's network; a GoogLeNet comes without its auxiliary heads."""
    if run.shape is None:
        network = network_of(run.network, num_classes)
        network.load_state_dict(weights)
    else:
        network = network_of(run.shape.but(aux_heads=()), num_classes)
        network.load_state_dict(without_heads(weights))
    return Classifier(network, run.pixels.preprocessing, run.input_size)


def foreign_classifier(config: ForeignConfig, num_classes: int) -> Classifier:
    """Return a foreign network with its weights.

    Raises:
        InputError: there is no such architecture, or the file does not fit it; the
            message names the first mismatch.
    """
    family = config.arch.partition(":")[0]
    weights = read_weights(config.weights, config.weights_key) if config.weights else {}
    if family == "googlenet":
        _refuse_other_note(config)
        shape = present(config.shape, config.arch)
        options = shape.model_dump() | {"aux_heads": (), "input_size": config.input_size}
        network: nn.Module = GoogLeNet(num_classes, **options)
    else:
        arguments = dict(config.arguments)
        if config.transform_input is not None:
            # late weights replace those that the network would draw for seconds
            arguments |= {"init_weights": False, "transform_input": config.transform_input}
            arguments |= {"aux_logits": _has_heads(weights)}
        network = made(config.arch, num_classes, arguments, config.code)
    remark = ""
    if config.weights is not None:
        weights, remark = under_names(network.state_dict().keys(), weights, config.weights)
        if family == "googlenet":
            weights = without_heads(weights)
        load_strictly(network, weights, config.weights)
    return Classifier(network, config.preprocessing, config.input_size, remark)


def _has_heads(weights: Iterable[str]) -> bool:
    return any(f".{head}." in f".{name}" for name in weights for head in HEADS)


def without_heads(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights but those of auxiliary heads."""
    return {name: tensor for name, tensor in weights.items() if not name.startswith("aux_heads.")}


def _refuse_other_note(config: ForeignConfig) -> None:
    """Raise InputError if a file of our weights notes another network than its config
    says, or that its weights are the best ones.
    """
    note = note_in(config.weights) if config.weights else None
    if note and (note.network, note.are_best) != (config.network, config.are_best):
        shape = " ".join(differences(note.network)) or "no option"
        raise InputError(
            f"{config.weights}: notes a network with {shape}, are_best={note.are_best}; its"
            " ForeignConfig needs these as network and are_best (going-deeper evaluate gives them)"
        )


def load_strictly(network: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights into a network.

    Raises:
        InputError: a name is missing or unknown, or a shape differs; the message names
            the first mismatch in the network's order.
    """
    expected = network.state_dict()
    for name, tensor in expected.items():
        if name not in weights:
            if name.endswith("num_batches_tracked"):
                continue  # not a weight, and older files lack it
            raise InputError(
                f"{path}: has no tensor {name}; the network expects one of shape"
                f" {tuple(tensor.shape)}"
            )
        if why := _unusable(weights[name], tensor):
            raise InputError(
                f"{path}: {name} {why}; the network expects whole tensors of {tensor.dtype}"
            )
        if weights[name].shape != tensor.shape:
            shape = tuple(weights[name].shape)
            is_other = shape[1:] == tuple(tensor.shape)[1:]
            raise InputError(
                f"{path}: {name} has shape {shape}; the network expects {tuple(tensor.shape)}"
                + (" (are the weights of another number of classes than --data has?)" * is_other)
            )
    if unknown := next((name for name in weights if name not in expected), None):
        raise InputError(f"{path}: has a tensor {unknown}, which the network does not know")
    network.load_state_dict(weights, strict=False)


def _unusable(tensor: Tensor, expected: Tensor) -> str:
    """Say why a tensor cannot be copied, or would not be what its file means."""
    if tensor.is_nested or tensor.layout is not torch.strided:
        return "is nested" if tensor.is_nested else f"is {tensor.layout}"
    if tensor.is_meta or tensor.is_quantized:
        return "has no values" if tensor.is_meta else "is quantised"
    is_other = expected.is_floating_point() and not tensor.is_floating_point()
    return f"is of {tensor.dtype}" if is_other else ""
