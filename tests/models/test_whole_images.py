"""ResNet's evaluation on whole images: equal to a plain loop, and refused where it
means nothing.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.transforms.functional import to_tensor

from pipeline.artefacts.dataset import Split
from pipeline.artefacts.shards import Record, write_shard
from pipeline.configs.crops import CropsConfig
from pipeline.errors import InputError
from pipeline.models.classify import classify
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.preprocessing import Preprocessing

CPU = torch.device("cpu")
UNIT = Preprocessing((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
SIDE, CLASSES = 98, 7


def engine_of(network: nn.Module, precision: str = "fp32") -> Engine:
    return Engine(Classifier(network, UNIT, SIDE), CPU, precision)


def with_any_weights(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for tensor in network.parameters():
        nn.init.normal_(tensor, std=0.2)
    return network.eval()


@pytest.mark.parametrize(
    "network",
    [
        timm.create_model("test_resnet", num_classes=CLASSES),
        GoogLeNet(CLASSES, SIDE, 0.25, aux_heads=()),
    ],
    ids=["timm", "googlenet"],
)
def test_equals_a_plain_loop(network: nn.Module, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    image, file = Image.fromarray(pixels), io.BytesIO()
    image.save(file, "PNG")
    content, shard = file.getvalue(), tmp_path / "val.arrow"
    record = Record("a", content, 0, *image.size, hashlib.sha256(content).hexdigest())
    write_shard(shard, ["noise"], [record])
    split = Split([shard])
    with_any_weights(network)
    engine = engine_of(network)
    engine.refuse_fixed_size("it")
    policies = ("crops_1", "resnet_dense")
    scores, bad = classify(engine, split, [0], CLASSES, policies, CropsConfig())
    assert not bad
    each = []
    with torch.no_grad():
        for short in (98, 112, 168, 210, 280):
            size = (short * 120 // 90, short)
            scaled = to_tensor(image.resize(size, Image.Resampling.BILINEAR))[None]
            each += [F.softmax(network(x), 1)[0].numpy() for x in (scaled, scaled.flip(3))]
    np.testing.assert_allclose(scores["resnet_dense"][0], np.mean(each, axis=0), atol=1e-5)


@pytest.mark.parametrize(
    "network",
    [
        timm.create_model("test_vit", num_classes=CLASSES, img_size=SIDE),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(144, 7)),
        nn.Conv2d(3, CLASSES, 3),
        GoogLeNet(CLASSES, SIDE, 0.25, aux_heads=(), head="fully_connected"),
    ],
    ids=["vit", "vgg", "map", "connected"],
)
def test_a_fixed_head_is_refused_in_one_line(network: nn.Module) -> None:
    with pytest.raises(InputError, match="it: policy resnet_dense needs a network that takes"):
        engine_of(network).refuse_fixed_size("it")


def test_a_transformer_of_whole_patches_is_refused() -> None:
    """It takes two sides of 96 px side by side, and not the whole images of 341 px."""
    network = timm.create_model("test_vit", num_classes=CLASSES)
    engine = Engine(Classifier(network, UNIT, 96), CPU, "fp32")
    with pytest.raises(InputError, match="it: policy resnet_dense needs a network that takes"):
        engine.refuse_fixed_size("it")


def test_bf16_has_its_fourth_channel() -> None:
    network = GoogLeNet(CLASSES, SIDE, 0.25, aux_heads=())
    engine_of(network, "bf16").refuse_fixed_size("it")
