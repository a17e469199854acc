"""The policies of test-time crops (paper, section 7), by name.

The paper's policies nest: 1 < 2 < 10 < 36 < 72 < 108 < 144 crops, where the first 36
crops are those of one scale.
"""

from collections.abc import Callable
from typing import Literal, get_args

from pipeline.paper.crops import (
    PAPER_INPUT_SIZE,
    RULES,
    Crop,
    crops_10,
    crops_144,
    resnet_scales,
    scales,
    v3_12,
    vgg_150,
)


def _first(count: int, crops: Callable[..., tuple[Crop, ...]]) -> Callable[..., tuple[Crop, ...]]:
    return lambda width, height, input_size=PAPER_INPUT_SIZE, rules=RULES: crops(
        width, height, input_size, rules
    )[:count]


crops_1 = _first(1, crops_10)  # the centre of the central square at the smallest scale
CROPS: dict[str, Callable[..., tuple[Crop, ...]]] = {
    "crops_1": crops_1,
    "crops_2": _first(2, crops_10),
    "crops_10": crops_10,
    **{f"crops_{count}": _first(count, crops_144) for count in (36, 72, 108)},
    "crops_144": crops_144,
    "vgg_150": vgg_150,
    "v3_12": v3_12,
}
NUM_CROPS = {name: len(crops(2, 1)) for name, crops in CROPS.items()}
# the policies of the crop-count curve: each contains the one before
CURVE = tuple(name for name in CROPS if name.startswith("crops_"))

# How the crops of an image become one score for each class. `mean` is the paper's. Its
# authors tried `max` over the crops, then the mean over models: it was inferior. The
# mean of logits, after softmax, is the normalised geometric mean of probabilities.
Pooling = Literal["mean", "max", "geometric"]
# No crops: the network runs on whole scaled images and their mirror images, of these
# shorter sides by input size. `dense` slides GoogLeNet's head, as in VGG's evaluation;
# `resnet_dense` is for any network that pools all places of a map, as in ResNet's.
DENSE, RESNET_DENSE = "dense", "resnet_dense"
WHOLE: dict[str, Callable[[int], tuple[int, ...]]] = {DENSE: scales, RESNET_DENSE: resnet_scales}
KINDS = (*CROPS, *WHOLE)  # in this order
FAMILIES = {"vgg_150": " (VGG)", "v3_12": " (v3)"}


def label_of(policy: str) -> str:
    """Return a policy's name for people.

    >>> policies = ("crops_144_max", "vgg_150", "v3_12", "dense", "resnet_dense")
    >>> [label_of(policy) for policy in policies]
    ['144 (max)', '150 (VGG)', '12 (v3)', 'dense', 'dense (ResNet)']
    """
    kind, pooling = split_policy(policy)
    if kind in WHOLE:
        return DENSE if kind == DENSE else "dense (ResNet)"
    count = f"{NUM_CROPS[kind]}{FAMILIES.get(kind, '')}"
    return count if pooling == "mean" else f"{count} ({pooling})"


def num_crops(policy: str) -> int:
    """Return how many crops of an image a policy takes; a whole image counts as one.

    >>> num_crops("crops_144_max"), num_crops("dense")
    (144, 1)
    """
    return NUM_CROPS.get(split_policy(policy)[0], 1)


def in_crops(label: str) -> str:
    """Return the label of a policy with the word it counts.

    >>> [in_crops(label) for label in ("1", "144", "144 (max)", "150 (VGG)", "dense")]
    ['1 crop', '144 crops', '144 crops (max)', '150 crops (VGG)', 'dense']
    """
    count, _, rest = label.partition(" ")
    if not count.isdigit():
        return label
    return " ".join(filter(None, (count, "crop" if count == "1" else "crops", rest)))


def split_policy(policy: str) -> tuple[str, Pooling]:
    """Return the crops and the pooling that a policy's name means.

    >>> split_policy("crops_144"), split_policy("crops_144_max")
    (('crops_144', 'mean'), ('crops_144', 'max'))

    Raises:
        ValueError: there is no such policy; the message lists the valid ones.
    """
    for pooling in get_args(Pooling)[1:]:
        if policy.endswith(f"_{pooling}") and policy.removesuffix(f"_{pooling}") in CROPS:
            return policy.removesuffix(f"_{pooling}"), pooling
    if policy not in KINDS:
        raise ValueError(
            f"no policy {policy!r}: expected one of {', '.join(KINDS)}; all but"
            f" {' and '.join(WHOLE)} also with _max or _geometric"
        )
    return policy, "mean"
