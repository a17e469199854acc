"""The folder of a network that others load in a line, as the Hub has it."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import onnx
import torch
from torch import nn

from pipeline.configs.network import AnyNetwork, PixelConfig
from pipeline.errors import present
from pipeline.models.timm_config import timm_config
from pipeline.runtime import disk

FILES = ("model.safetensors", "config.json", "model.onnx", "README.md")


class Described(NamedTuple):
    """A network for others.

    `classes` are names in the order of the outputs, empty where nobody knows them;
    `licence` is an identifier of the Hub.
    """

    network: nn.Module
    config: AnyNetwork
    pixels: PixelConfig
    num_classes: int
    classes: Sequence[str]
    licence: str


def write_layout(into: Path, described: Described, weights: bytes, card: str) -> Path:
    """Write a network's files to the folder `into`, all or none, and return it.

    There is no config.json where timm cannot make the network.

    Args:
        weights: the content of model.safetensors.
        card: the model card, in Markdown.
    """
    network, config, pixels, num_classes, classes, licence = described
    contents = {
        "model.safetensors": weights,
        "config.json": timm_config(config, pixels, num_classes, classes, licence),
        "model.onnx": onnx_program(network, config.input_size, onnx_properties(described)),
        "README.md": card.encode(),
    }
    into.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if content is None:
            (into / name).unlink(missing_ok=True)  # of another network, from before
        else:
            disk.write_atomic(into / name, content)
    return into


def onnx_properties(described: Described) -> dict[str, str]:
    """Return what the ONNX file says of its network, as JSON by name.

    `mean` and `std` are of pixels in 0..255, in the order of `channel_order`.
    """
    _, config, pixels, _, classes, licence = described
    properties = {"network": config.model_dump_json(), "pixels": pixels.model_dump_json()}
    values = {"classes": list(classes), "license": licence, **pixels.model_dump(mode="json")}
    return properties | {name: json.dumps(value) for name, value in values.items()}


def onnx_program(network: nn.Module, side: int, properties: dict[str, str]) -> bytes:
    """Return a network as an ONNX file: images of N x 3 x side x side -> logits."""
    network = network.eval()
    example = torch.zeros(2, 3, side, side)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    exported = torch.onnx.export(
        network,
        (example,),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    model = present(exported, "the ONNX program").model_proto
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content
