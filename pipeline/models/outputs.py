"""How many classes a file of weights is for, before a network is made for them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pipeline.configs.evaluate import TRANSFORMING
from pipeline.errors import InputError
from pipeline.models.loading import HEADS
from pipeline.models.making import made
from pipeline.models.weights import under_names

TRIED = (7, 11)  # ours: two numbers of classes, whose networks differ in their outputs only


def num_outputs(arch: str, weights: dict[str, Tensor], path: Path) -> int | None:
    """Return the number of outputs of a network of torchvision or timm with these
    weights, or of a GoogLeNet of ours; None where that is not known.
    """
    family = arch.partition(":")[0]
    if family == "googlenet":
        names = ["classifier.bias"]
    elif family in ("timm", "torchvision"):
        one, other = (_shapes(arch, count) for count in TRIED)
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


def _shapes(arch: str, num_classes: int) -> Mapping[str, torch.Size]:
    arguments = {"init_weights": False} if arch in TRANSFORMING else {}
    with torch.device("meta"):
        network = made(arch, num_classes, arguments)
    return {each: tensor.shape for each, tensor in network.state_dict().items()}
