"""Four networks under one protocol on handwritten digits: a GoogLeNet, timm's
Inception-v3, torchvision's ResNet-18, a network of this file, and their ensemble.

Run:     going-deeper run family
Expect:  a table of the best network and of all together, with 1, 12 and 144 crops
Cost:    some six minutes on two cores
Differs: inputs of 48 to 80 px, 10 classes, 1,438 training images; constants are ours
"""

from typing import Any

from pipeline.configs import (
    CheckConfig,
    Epochs,
    EvaluateConfig,
    NetworkConfig,
    OtherNetwork,
    PrepareConfig,
    Study,
    TrainConfig,
    table3,
)


def plain(num_classes: int) -> Any:
    """Return three convolutions and a classifier."""
    from torch import nn  # late: a plan needs no torch

    def layer(channels: int, filters: int) -> list[Any]:
        convolution = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(filters), nn.ReLU(), nn.MaxPool2d(2)]

    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, num_classes)]
    return nn.Sequential(*layer(3, 16), *layer(16, 32), *layer(32, 64), *head)


def experiment(epochs: Epochs = 6) -> Study:
    data = PrepareConfig(source="digits", name="digits")
    base = TrainConfig(
        data=data,
        num_epochs=epochs,
        learning_rate=0.05,
        schedule="cosine",
        warmup_epochs=1,
        averaging_decay=0.95,
        clip_norm=5.0,
        min_area=0.5,
        precision="bf16",
        validate_every_epochs=5,
    )
    googlenet = NetworkConfig(input_size=56, width=0.25, norm="batch")
    large = (
        OtherNetwork.of("timm:inception_v3", 80),
        OtherNetwork.of("torchvision:resnet18", 64),
    )
    own = OtherNetwork.of(f"{__file__}:plain", 48)
    adam = {"optimizer": "timm:adamw", "learning_rate": 0.001, "init": "own"}
    runs = [base.but(network=googlenet, num_epochs=LONGER * epochs)]
    runs += [base.but(network=network, **adam) for network in large]
    runs += [base.but(network=own, num_epochs=LONGER * epochs, **adam | {"learning_rate": 0.01})]
    members = tuple(
        EvaluateConfig(data=data, classifier=run, precision="bf16", policies=POLICIES)
        for run in runs
    )
    return Study(
        name="family",
        title="A GoogLeNet and three other networks on handwritten digits",
        check=CheckConfig(results=table3(members, POLICIES)),
    )


LONGER = 4  # small networks cost little, and learn slowly
POLICIES = ("crops_1", "v3_12", "crops_144")
