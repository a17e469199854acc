"""Errors that GoogLeNet's successors and neighbours published, and the weights that can
show them; from `family.toml` beside this file.
"""

import tomllib
from importlib import resources
from typing import Literal, NamedTuple

from pydantic import TypeAdapter

from pipeline.paper.crops import Aspect
from pipeline.paper.policies import in_crops, label_of
from pipeline.paper.preprocessing import ChannelOrder
from pipeline.paper.published import NEIGHBOURS

VAL, NOT_BLACKLISTED = "val", "not_blacklisted"
BLACKLISTED = 1762  # images on ILSVRC-2014's list, of 50,000


class Weights(NamedTuple):
    """A file of published weights, and how its owners let pixels enter.

    A pixel of 0 to 255 enters as (value - mean) / std. `policies` are those of its own
    papers, beside the paper's crops.
    """

    name: str
    file: str
    arch: str
    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Literal["pil_bilinear", "pil_cubic"]
    whose: str
    channel_order: ChannelOrder = "rgb"
    aspect: Aspect = "kept"
    transform_input: bool | None = None
    policies: tuple[str, ...] = ()


class Number(NamedTuple):
    """A published pair of errors.

    `weights` is the architecture whose weights can show them; where none can, `lacks`
    says why. `copies` are the public copies of the `source` in which they were read.
    """

    id: str
    network: str
    policy: str
    models: int
    top1_error: float
    top5_error: float
    source: str
    copies: tuple[str, ...]
    split: Literal["val", "not_blacklisted"]
    tolerance: float
    top5_tolerance: float
    reason: str
    weights: str = ""
    lacks: str = ""

    @property
    def name(self) -> str:
        """Name the network for people, with its crops and the number of models."""
        several = f"{self.models} models, " if self.models > 1 else ""
        return f"{self.network}, {several}{in_crops(label_of(self.policy))}"


_FAMILY = tomllib.loads(resources.files(__package__).joinpath("family.toml").read_text())
WEIGHTS = TypeAdapter(tuple[Weights, ...]).validate_python(_FAMILY["weights"])
# of the makers of the two files of GoogLeNet; published.toml has their errors
_GOOGLENETS = {"R7": "torchvision:googlenet", "R8": "googlenet"}
NUMBERS = TypeAdapter(tuple[Number, ...]).validate_python(
    [
        {name: value for name, value in table.items() if name != "numbers"} | number
        for table in _FAMILY["table"]
        for number in table["numbers"]
    ]
) + tuple(
    Number(
        id=each.id,
        network=each.name,
        policy=f"crops_{each.crops}",
        models=1,
        top1_error=each.top1_error,
        top5_error=each.top5_error,
        source=each.source,
        copies=(each.source,),
        split="val",
        tolerance=each.tolerance,
        top5_tolerance=each.top5_tolerance or each.tolerance,
        reason=each.reason,
        weights=_GOOGLENETS[each.id],
    )
    for each in NEIGHBOURS
    if each.id
)


def weights_of(arch: str) -> Weights | None:
    """Return the published weights of an architecture, if there are some.

    >>> weights_of("timm:resnet152.tv_in1k").policies, weights_of("timm:resnet18")
    (('resnet_dense',), None)
    """
    return next((each for each in WEIGHTS if each.arch == arch), None)
