"""How many classes a file of weights is for, before a network is made for them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pipeline.configs.evaluate import TRANSFORMING
from pipeline.errors import InputError
from pipeline.models.loading import HEADS
from pipeline.models.making import timm_network, torchvision_with
from pipeline.models.weights import under_names

TRIED = (7, 11)  # ours: two numbers of classes, whose networks differ in their outputs only


def num_outputs(arch: str, weights: dict[str, Tensor], path: Path) -> int | None:
    """Return the number of outputs of a network of torchvision or timm with these
    weights, or of a GoogLeNet of ours; None where that is not known.
    """
    family, _, name = arch.partition(":")
    if family == "googlenet":
        names = ["classifier.bias"]
    elif family in ("timm", "torchvision"):
        one, other = (_shapes(family, name, count) for count in TRIED)
        names = [each for each, shape in one.items() if shape != other.get(each)]
        try:
            weights, _ = under_names(one.keys(), weights, path)
        except InputError:  # loading says what is wrong
            return None
    else:
        return None
    sizes = {
        weights[each].shape[0]
        for each in names
        if each in weights and weights[each].ndim and not each.startswith(HEADS)
    }
    return sizes.pop() if len(sizes) == 1 else None


def _shapes(family: str, name: str, num_classes: int) -> Mapping[str, torch.Size]:
    with torch.device("meta"):
        network = (
            timm_network(name, num_classes)
            if family == "timm"
            else torchvision_with(name).get_model(
                name,
                weights=None,
                num_classes=num_classes,
                **({"init_weights": False} if f"torchvision:{name}" in TRANSFORMING else {}),
            )
        )
    return {each: tensor.shape for each, tensor in network.state_dict().items()}
