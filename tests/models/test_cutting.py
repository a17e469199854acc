"""A device gathers the very pixels that a CPU cuts, by one copy and a few kernels."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.configs.crops import CropsConfig
from pipeline.images.planes import plane_of, planes_of
from pipeline.models.cutting import Crops, Gathered, OpenImage, Views, pack
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.paper.crops import RULES
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.policies import CROPS
from pipeline.paper.preprocessing import CAFFE_PREPROCESSING, PREPROCESSING, Preprocessing

SIDE = 42
CPU = torch.device("cpu")


def drawn(width: int, height: int, kinds: tuple[str, ...] = ("crops_10", "crops_144")) -> OpenImage:
    """An image of noise, open for all crops of some kinds."""
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)
    crops = tuple(
        dict.fromkeys(crop for kind in kinds for crop in CROPS[kind](width, height, SIDE, RULES))
    )
    planes = planes_of(
        pixels,
        dict.fromkeys(plane_of(crop, SIDE) for crop in crops),
        SIDE,
        CropsConfig(),
    )
    return OpenImage(crops=crops, planes=planes)


def batches(engine: Engine, crops: list[Crops]) -> list[tuple[Tensor, int]]:
    return [(batch.clone(), count) for batch, count in engine.batches(crops)]


@pytest.mark.parametrize("preprocessing", [PREPROCESSING, CAFFE_PREPROCESSING])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gathered_crops_are_the_views(preprocessing: Preprocessing, precision: str) -> None:
    """Bit for bit, in batches that end within an image; a bad image has no crops."""
    network = GoogLeNet(3, SIDE, 0.125, aux_heads=())
    engine = Engine(Classifier(network, preprocessing, SIDE), CPU, precision)
    engine.batch_size = 50
    images = [drawn(75, 50), OpenImage(problem="bad"), drawn(48, 90), drawn(60, 60)]
    expected = batches(engine, [Views(engine.pixels, image) for image in images])
    packs = (pack(images[:3], SIDE, False), pack(images[3:], SIDE, False))
    gathered = batches(engine, [Gathered(engine.pixels, packed) for packed in packs])
    assert sum(count for _, count in expected) == 144 + 144 + 48
    for (one, one_count), (other, other_count) in zip(expected, gathered, strict=True):
        assert one_count == other_count
        assert torch.equal(one, other)


class Calls(TorchDispatchMode):
    """Counts what is called but views, which start no kernel."""

    VIEWS = ("view", "slice", "unsqueeze", "unbind", "select", "as_strided", "t", "detach")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, given: Any = (), named: Any = None
    ) -> Any:
        if (name := function.overloadpacket.__name__) not in self.VIEWS:
            self.names.append(name)
        return function(*given, **(named or {}))


def test_an_image_costs_one_copy_and_a_few_kernels() -> None:
    """However many crops: 144 of one image, or one of each of 32 images."""
    device = torch.device("meta")
    engine = Engine(Classifier(nn.Identity(), PREPROCESSING, SIDE), device)
    many = [drawn(75, 50)], [drawn(60 + k, 50, ("crops_1",)) for k in range(32)]
    for images in many:
        packed = pack(images, SIDE, False)
        batch = torch.empty(packed.num_crops, SIDE, SIDE, 3, device=device)
        Gathered(engine.pixels, packed).write(batch)  # mean and deviation go to the device once
        with Calls() as calls:
            Gathered(engine.pixels, packed).write(batch)
        kernels = ["sub", "div_", "addcmul", "addcmul", "index_select"]
        assert calls.names == ["_to_copy", *kernels]
