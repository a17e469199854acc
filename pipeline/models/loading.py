"""Classifiers by config: a run of ours, or what was made elsewhere (Caffe, torchvision,
timm, a user's own Python file).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.configs.evaluate import ForeignConfig
from pipeline.configs.experiment import error_in, python_function
from pipeline.configs.network import NetworkConfig
from pipeline.errors import InputError, present
from pipeline.models.caffe import googlenet_weights
from pipeline.paper.googlenet import CAFFE_PREPROCESSING, PREPROCESSING, GoogLeNet, Preprocessing


class Classifier(NamedTuple):
    """A network that maps N x 3 x side x side to logits (N x classes), and how pixels
    enter it.
    """

    network: nn.Module
    preprocessing: Preprocessing
    input_size: int


def our_classifier(
    shape: NetworkConfig, weights: dict[str, Tensor], num_classes: int
) -> Classifier:
    """A run's network without its auxiliary heads."""
    network = GoogLeNet(num_classes, **shape.but(aux_heads=()).model_dump())
    network.load_state_dict(
        {name: tensor for name, tensor in weights.items() if not name.startswith("aux_heads.")}
    )
    return Classifier(network, PREPROCESSING, shape.input_size)


def foreign_classifier(config: ForeignConfig, num_classes: int) -> Classifier:
    """A foreign network with its weights.

    Raises:
        InputError: no such architecture, or the file does not fit it; the first
            mismatch is named.
    """
    family, _, name = config.arch.partition(":")
    weights = read_weights(config.weights) if config.weights else {}
    if family == "python":
        network = _users_network(present(config.code, config.arch), name, num_classes)
    elif family == "torchvision":
        network = _torchvision_network(
            name,
            num_classes,
            aux_logits=any(key.startswith(("aux1.", "AuxLogits.")) for key in weights),
        )
    elif family == "timm":
        network = _timm(name).create_model(name, pretrained=False, num_classes=num_classes)
    else:
        weights = {
            name: tensor for name, tensor in weights.items() if not name.startswith("aux_heads.")
        }
        shape = exported_shape(present(config.weights, config.arch)) or NetworkConfig()
        options = shape.model_dump() | {"aux_heads": (), "input_size": config.input_size}
        network = GoogLeNet(num_classes, **options)
    if config.weights is not None:
        load_strictly(network, weights, config.weights)
    preprocessing = Preprocessing(config.mean, config.std, config.channel_order)
    return Classifier(network, preprocessing, config.input_size)


def default_preprocessing(arch: str, weights: Path | None) -> tuple[Preprocessing, int]:
    """The preprocessing and input size that an architecture's weights usually need; the
    user may say otherwise.
    """
    family, _, name = arch.partition(":")
    if family == "timm" and (declared := _timm(name).get_pretrained_cfg(name)) is not None:
        mean, std = ((255 * r, 255 * g, 255 * b) for r, g, b in (declared.mean, declared.std))
        return Preprocessing(mean, std), int(declared.input_size[-1])
    if family == "torchvision":
        usual = _torchvision(name).get_model_weights(name).DEFAULT.transforms()
        mean, std = ((255 * r, 255 * g, 255 * b) for r, g, b in (usual.mean, usual.std))
        return Preprocessing(mean, std), int(usual.crop_size[0])
    if weights is not None and (shape := exported_shape(weights)) is not None:
        return PREPROCESSING, shape.input_size
    caffe = weights is not None and weights.suffix == ".caffemodel"
    return (CAFFE_PREPROCESSING if caffe else PREPROCESSING), 224


def exported_shape(path: Path) -> NetworkConfig | None:
    """The shape of a network that `going-deeper export` wrote, or None where the file
    does not say.
    """
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, "pt") as file:
        noted = (file.metadata() or {}).get("network")
    return None if noted is None else NetworkConfig.model_validate_json(noted)


def read_weights(path: Path) -> dict[str, Tensor]:
    """A file's tensors by name: .caffemodel (as our network's), .safetensors, or a
    PyTorch state dict.

    A pickle is read with `weights_only=True`, so that it cannot run code.

    Raises:
        InputError: no such file, or it cannot be read as what its name says.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such weights file"
        raise InputError(f"{path}: {what}; expected a .caffemodel, .safetensors, .pt or .pth file")
    if path.suffix == ".caffemodel":
        return googlenet_weights(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise InputError(f"{path}: is not a safetensors file: {error}") from None
    except Exception:  # torch's own message advises to run the pickle's code
        raise InputError(
            f"{path}: cannot be read as a PyTorch state dict; expected a zip or pickle of tensors"
            " only"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(v, Tensor) for v in content.values())
    ):
        raise InputError(f"{path}: holds no state dict; expected tensors by name")
    return content


def load_strictly(network: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Load weights into a network.

    Raises:
        InputError: a name is missing or unknown, or a shape differs; the first mismatch
            in the network's order is named.
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
        if weights[name].shape != tensor.shape:
            found = tuple(weights[name].shape)
            raise InputError(
                f"{path}: {name} has shape {found}; the network expects {tuple(tensor.shape)}"
            )
    if unknown := next((name for name in weights if name not in expected), None):
        raise InputError(f"{path}: has a tensor {unknown}, which the network does not know")
    network.load_state_dict(weights, strict=False)


class _CallableNetwork(nn.Module):
    """A user's plain function from images to logits."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.function = function

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return self.function(images_NCHW)


def _users_network(path: Path, name: str, num_classes: int) -> nn.Module:
    """What a function `name(num_classes)` of the user's file returns: a module, or any
    callable from images to logits.
    """
    function = python_function(path, name, f"def {name}(num_classes): returning a torch module")
    try:
        network = function(num_classes)
    except Exception as error:
        raise InputError(error_in(path, error)) from None
    if not callable(network):
        found = type(network).__name__
        raise InputError(
            f"{path}: {name}(num_classes) returned {found}; expected a module or a function, images"
            " -> logits"
        )
    return network if isinstance(network, nn.Module) else _CallableNetwork(network)


def _torchvision_network(name: str, num_classes: int, aux_logits: bool) -> nn.Module:
    # both were ported from TensorFlow: their released weights expect the input's scale
    # to be undone
    ported = {"aux_logits": aux_logits, "init_weights": False, "transform_input": True}
    extra = ported if name in ("googlenet", "inception_v3") else {}
    network: nn.Module = _torchvision(name).get_model(
        name, weights=None, num_classes=num_classes, **extra
    )
    return network


def _torchvision(name: str) -> Any:
    """torchvision's models, which have one of this name; imported late, as training
    ranks do without.
    """
    from torchvision import models

    if name not in models.list_models(module=models):
        raise InputError(
            f"torchvision:{name}: no such classifier; see torchvision.models.list_models()"
        )
    return models


def _timm(name: str) -> Any:
    """timm, which has a model of this name; imported late, as training ranks do
    without.
    """
    import timm

    if not timm.is_model(name) or ("." in name and name not in timm.list_pretrained(name)):
        raise InputError(f"timm:{name}: no such model; see timm.list_models()")
    return timm
