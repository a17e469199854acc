"""The preprocessing that an architecture's weights usually need.

It says how pixels enter and how the makers of the weights resize and cut images.
`notes` says where an evaluation differs from that.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pipeline.configs.crops import Resize
from pipeline.configs.evaluate import TRANSFORMING, EvaluateConfig, ForeignConfig
from pipeline.models.making import timm_network, timm_with, torchvision_with
from pipeline.models.weights import note_in
from pipeline.paper.crops import Aspect, scales
from pipeline.paper.preprocessing import CAFFE_PREPROCESSING, PREPROCESSING, Preprocessing

OURS = "our export"
# torchvision and timm resize with Pillow
RESIZE: dict[str | None, Resize] = {"bilinear": "pil_bilinear", "bicubic": "pil_cubic"}


class Usual(NamedTuple):
    """The preprocessing that the weights of `owner` need.

    `crop` is the share of the shorter side that the owner's one crop has. `kernel` and
    `crop` are None where the owner does not say.
    """

    owner: str
    preprocessing: Preprocessing
    input_size: int
    kernel: str | None = None
    crop: float | None = None
    aspect: Aspect = "kept"  # of the image that the crop is cut from
    is_recognised: bool = False  # by its digest, the file is the owner's own
    remark: str = ""

    @property
    def resize(self) -> Resize:
        """The kernel under our name; bilinear where the owner's is unknown to us."""
        return RESIZE.get(self.kernel, "pil_bilinear")


def usual(arch: str, weights: Path | None, sha256: str | None) -> Usual | None:
    """Return what weights need: by our note in them, or as the architecture's usually.

    None where timm does not say. The user's config may say otherwise.

    Raises:
        InputError: there is no such architecture.
    """
    if weights is not None and (note := note_in(weights)) is not None:
        size = note.network.input_size
        return Usual(OURS, note.pixels.preprocessing, size, aspect=note.aspect)
    family, _, name = arch.partition(":")
    if family == "timm":
        return _timms(name)
    if family == "torchvision":
        return _torchvisions(name, sha256 or "")
    if weights is not None and weights.suffix == ".caffemodel":
        return Usual("Caffe's bvlc_googlenet", CAFFE_PREPROCESSING, 224, aspect="warped")
    return Usual("ImageNet", PREPROCESSING, 224)


def notes(config: EvaluateConfig, remark: str = "") -> list[str]:
    """Return where an evaluation of foreign weights differs from their makers.

    Each note is a sentence. Some notes say what the evaluation assumed. `remark` is one
    on the weights.
    """
    foreign = config.classifier
    if not isinstance(foreign, ForeignConfig):
        return []
    theirs = usual(foreign.arch, foreign.weights, foreign.sha256)
    sentences = [remark] if remark else []
    if foreign.arch.startswith("python:") and theirs and theirs.owner != OURS:
        entry = foreign.preprocessing
        sentences.append(
            f"its file does not say how pixels enter; taken: mean {_text(entry.mean)}, std"
            f" {_text(entry.std)}, {entry.channel_order}, {foreign.input_size} px"
        )
        theirs = None
    elif theirs is None:
        sentences.append("timm says nothing of its preprocessing; all of it is yours")
    if theirs is None:
        return [f"{foreign.arch}: {sentence}" for sentence in sentences]
    sentences += [theirs.remark] if theirs.remark else []
    mean, std, order = theirs.preprocessing
    sentences += [
        f"{what} {_text(value)}, where {theirs.owner} has {_text(other)}"
        for what, value, other in (
            ("input size", foreign.input_size, theirs.input_size),
            ("mean", foreign.mean, mean),
            ("std", foreign.std, std),
            ("channel order", foreign.channel_order, order),
            ("aspect", config.crops.aspect, theirs.aspect),
            ("resize", config.crops.resize, RESIZE.get(theirs.kernel) or theirs.kernel),
        )
        if other is not None and _text(value) != _text(other)  # owners round otherwise
    ]
    shorter = scales(foreign.input_size)
    if theirs.crop is not None and abs(theirs.crop - foreign.input_size / shorter[0]) > 0.005:
        sentences.append(
            f"crops are the paper's, of shorter sides from {shorter[0]} to {shorter[-1]} px (one"
            f" crop is {foreign.input_size / shorter[0]:.1%} of the side), where {theirs.owner} has"
            f" one crop of {theirs.crop:.1%}: errors are not comparable with those published"
        )
    if foreign.arch in TRANSFORMING:
        own = "torchvision's own" if theirs.is_recognised else "not one that torchvision published"
        sentences.append(
            f"transform_input is {foreign.transform_input}; the file is {own} (by its SHA-256)"
        )
    return [f"{foreign.arch}: {sentence}" for sentence in sentences]


def _timms(name: str) -> Usual | None:
    """Return the preprocessing of the network that timm makes under this name.

    The network's own configuration says it, because an old name has none.
    """
    timm = timm_with(name)
    with torch.device("meta"):  # no weights are drawn
        declared: dict[str, Any] | None = getattr(timm_network(name), "pretrained_cfg", None)
    if not declared or not all(declared.get(key) for key in ("mean", "std", "input_size")):
        return None
    architecture, tag = declared.get("architecture") or name, declared.get("tag")
    whole = f"{architecture}.{tag}" if tag else architecture
    remark = ""
    if architecture != name.partition(".")[0]:
        remark = f"an old name of timm's, of {whole}"
    elif tag and "." not in name:
        others = [
            other
            for other in timm.list_pretrained(f"{architecture}.*")
            if (cfg := timm.get_pretrained_cfg(other)) is not None
            and _entry(cfg.to_dict()) != _entry(declared)
        ]
        if others:
            remark = f"names no tag, so it is {whole}; otherwise enter pixels of {' '.join(others)}"
    return Usual(
        f"timm's {whole}",
        _in_255(declared["mean"], declared["std"]),
        int(declared["input_size"][-1]),
        declared.get("interpolation"),
        declared.get("crop_pct"),
        remark=remark,
    )


def _entry(declared: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(tuple(declared[key]) for key in ("mean", "std", "input_size"))


def _torchvisions(name: str, sha256: str) -> Usual:
    """Return the preprocessing of torchvision's weights under this name.

    These are the weights that the file is a copy of, or else torchvision's best.
    """
    published = torchvision_with(name).get_model_weights(name)
    own = [weights for weights in published if sha256.startswith(_digits(weights.url))]
    chosen = own[0] if own else published.DEFAULT
    transforms = chosen.transforms()
    return Usual(
        f"torchvision's {name} {chosen.name}",
        _in_255(transforms.mean, transforms.std),
        int(transforms.crop_size[0]),
        transforms.interpolation.value,
        transforms.crop_size[0] / transforms.resize_size[0],
        is_recognised=bool(own),
    )


def _digits(url: str) -> str:
    """Return the start of the SHA-256 that torchvision writes into a file's name."""
    digits = re.search(r"-([0-9a-f]{8,})\.pth$", url)
    return digits[1] if digits else "none"


def _in_255(mean: tuple[float, ...], std: tuple[float, ...]) -> Preprocessing:
    (red, green, blue), (by_red, by_green, by_blue) = mean, std
    return Preprocessing(
        (255 * red, 255 * green, 255 * blue), (255 * by_red, 255 * by_green, 255 * by_blue)
    )


def _text(value: object) -> str:
    return ",".join(f"{item:g}" for item in value) if isinstance(value, tuple) else str(value)
