"""The weights that a training begins with, where a file of another training has them.

The network below its classifiers must fit strictly. A classifier is drawn anew where
the file's has another number of classes, and so is an auxiliary head that the file
lacks.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from pipeline.configs.base import differences
from pipeline.configs.network import InitialWeights, NetworkConfig, WeightsNote
from pipeline.configs.other_network import OtherNetwork
from pipeline.configs.recipes import CAFFE_PIXELS
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.models.loading import load_strictly, without_heads
from pipeline.models.making import network_of
from pipeline.models.weights import note_in, read_weights, under_names
from pipeline.runtime import disk

Tensors = Mapping[str, Tensor]
# what does not change the network below its classifiers
BESIDE = ("aux_heads", "dropout", "aux_dropout", "input_size")


def note_of(path: Path) -> WeightsNote:
    """Return what a file of weights says of its network.

    Raises:
        InputError: it is neither a file of ours, with a note, nor Caffe's GoogLeNet.
    """
    weights = read_weights(path)
    if path.suffix == ".caffemodel":
        return WeightsNote(network=NetworkConfig(), pixels=CAFFE_PIXELS)
    if note := note_in(path):
        return note
    why = (
        "are of torchvision's GoogLeNet, which has 3 x 3 where the paper's has 5 x 5 convolutions,"
        " so that they fit no network of ours"
        if any(name.endswith("inception3a.branch1.conv.weight") for name in weights)
        else "have no note of ours on their network"
    )
    raise InputError(
        f"{path}: its weights {why}; expected the .safetensors of a run or an export of"
        " going-deeper, or Caffe's bvlc_googlenet.caffemodel"
    )


def begin_with(
    network: nn.Module, config: TrainConfig, begin: InitialWeights, num_classes: int
) -> str:
    """Load the weights of a file into a network. Return in words what is drawn anew.

    Raises:
        InputError: the file is not the one of the config, it was trained on other
            pixels, or its network does not fit.
    """
    path = begin.path
    if disk.sha256(path) != begin.sha256:
        raise InputError(f"{path}: is another file than when the training was defined (SHA-256)")
    if isinstance(config.network, NetworkConfig):
        merged, anew = _googlenets(network, config, config.network, begin)
    else:
        merged, anew = _others(network, config, config.network, begin, num_classes)
    load_strictly(network, merged, path)
    drawn = f"drawn anew: {', '.join(anew)}" if anew else "nothing is drawn anew"
    return f"begins with the weights of {path} ({begin.sha256[:12]}); {drawn}"


def _googlenets(
    network: nn.Module, config: TrainConfig, shape: NetworkConfig, begin: InitialWeights
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights to load into a GoogLeNet, and in words what is drawn anew."""
    path = begin.path
    note = note_of(path)
    if not isinstance(note.network, NetworkConfig):
        raise InputError(f"{path}: is of {note.network.arch}, and the training's is a GoogLeNet")
    if others := " ".join(differences(note.network, shape, BESIDE)):
        raise InputError(
            f"{path}: is of a network with {others}, which the training's network has not"
        )
    _refuse_other_pixels(note, config, path)
    weights, own, anew = read_weights(path, begin.key), network.state_dict(), []
    merged = without_heads(weights)
    same_size = note.network.input_size == shape.input_size
    for head in shape.aux_heads:
        prefix = f"aux_heads.{head}."
        theirs = {name: t for name, t in weights.items() if name.startswith(prefix)}
        if not theirs or not (same_size or _fit(theirs, own, f"{prefix}classifier.")):
            theirs = {name: t for name, t in own.items() if name.startswith(prefix)}
            anew.append(f"auxiliary head {head}")
        merged |= theirs
    return merged, anew + _classifiers_anew(merged, own)


def _others(
    network: nn.Module,
    config: TrainConfig,
    other: OtherNetwork,
    begin: InitialWeights,
    num_classes: int,
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights to load into another network, and in words what is drawn anew:
    its classifiers, where the file's are of another number of classes.
    """
    path = begin.path
    if note := note_in(path):
        if note.network.arch != other.arch:
            raise InputError(f"{path}: is of {note.network.arch}; the training's is {other.arch}")
        _refuse_other_pixels(note, config, path)
    own = network.state_dict()
    weights, remark = under_names(own.keys(), read_weights(path, begin.key), path)
    of_classes = [
        name
        for name, tensor in network_of(other, num_classes + 1, config.init_seed)
        .state_dict()
        .items()
        if tensor.shape != own[name].shape
    ]
    anew = [
        name for name in of_classes if name in weights and weights[name].shape != own[name].shape
    ]
    words = [f"{name} of {len(own[name])} ({len(weights[name])} in the file)" for name in anew]
    return weights | {name: own[name] for name in anew}, [*words, *([remark] if remark else [])]


def _refuse_other_pixels(note: WeightsNote, config: TrainConfig, path: Path) -> None:
    if note.pixels != config.pixels:
        raise InputError(
            f"{path}: was trained with mean {note.pixels.mean}, std {note.pixels.std},"
            f" {note.pixels.channel_order}; give the training these pixels"
        )


def _fit(weights: Tensors, own: Tensors, without: str) -> bool:
    """Return whether tensors have the network's shapes, but for those of a prefix."""
    return all(
        name in own and tensor.shape == own[name].shape
        for name, tensor in weights.items()
        if not name.startswith(without)
    )


def _classifiers_anew(merged: dict[str, Tensor], own: Tensors) -> list[str]:
    """Take the network's own classifiers where the numbers of classes differ.

    Return these classifiers in words.
    """
    words = []
    names = [name for name in own if name.endswith("classifier.weight")]
    for name in sorted(names, key=lambda name: name != "classifier.weight"):
        theirs, ours = merged.get(name), own[name]
        if theirs is None or theirs.shape[0] == ours.shape[0] or theirs.shape[1:] != ours.shape[1:]:
            continue
        bias = f"{name.removesuffix('weight')}bias"
        merged |= {name: ours, bias: own[bias]}
        place = name.removesuffix(".weight").removeprefix("aux_heads.").replace(".", " ")
        words.append(
            f"classifier of {len(ours)} classes ({len(theirs)} in the file)"
            if place == "classifier"
            else f"that of head {place.split()[0]}"
        )
    return words
