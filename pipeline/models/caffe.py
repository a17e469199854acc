"""Read Caffe's weight files (protobuf), in both layer formats.

`bvlc_googlenet.caffemodel` becomes tensors of our network.
"""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from torch import Tensor

from pipeline.errors import InputError
from pipeline.paper.inception import INCEPTIONS

# The fields of caffe.proto that hold weights: message -> (field, number, type,
# repeated)
FIELDS: dict[str, list[tuple[str, int, str, bool]]] = {
    "BlobShape": [("dim", 1, "int64", True)],
    "BlobProto": [
        ("num", 1, "int32", False),
        ("channels", 2, "int32", False),
        ("height", 3, "int32", False),
        ("width", 4, "int32", False),
        ("data", 5, "float", True),
        ("shape", 7, "BlobShape", False),
    ],
    "LayerParameter": [
        ("name", 1, "string", False),
        ("type", 2, "string", False),
        ("blobs", 7, "BlobProto", True),
    ],
    "V1LayerParameter": [("name", 4, "string", False), ("blobs", 6, "BlobProto", True)],
    "NetParameter": [
        ("name", 1, "string", False),
        ("layers", 2, "V1LayerParameter", True),
        ("layer", 100, "LayerParameter", True),
    ],
}

# Caffe's layer -> our module
LAYERS = {
    "conv1/7x7_s2": "conv1.conv",
    "conv2/3x3_reduce": "conv2_reduce.conv",
    "conv2/3x3": "conv2.conv",
    "loss3/classifier": "classifier",
    **{
        f"inception_{name}/{branch}": f"inceptions.{name}.{ours}.conv"
        for name in INCEPTIONS
        for branch, ours in {
            "1x1": "branch1x1",
            "3x3_reduce": "branch3x3_reduce",
            "3x3": "branch3x3",
            "5x5_reduce": "branch5x5_reduce",
            "5x5": "branch5x5",
            "pool_proj": "pool_proj",
        }.items()
    },
    **{
        f"{loss}/{layer}": f"aux_heads.{name}.{ours}"
        for loss, name in (("loss1", "4a"), ("loss2", "4d"))
        for layer, ours in {"conv": "conv.conv", "fc": "fc", "classifier": "classifier"}.items()
    },
}


def googlenet_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights of a GoogLeNet in a .caffemodel, under our names.

    The result has the auxiliary heads where the file has them. Layers may have the new
    format (`layer`) or the old one (`layers`, where every blob has four dimensions).

    Raises:
        InputError: the file is not a Caffe model, or lacks a layer of the main network.
    """
    net = message("NetParameter")()
    try:
        net.ParseFromString(path.read_bytes())
    except DecodeError:
        raise InputError(
            f"{path}: is not a Caffe model; expected a binary NetParameter message"
        ) from None
    layers = {layer.name: layer.blobs for layer in (*net.layer, *net.layers) if layer.blobs}
    weights = {}
    for caffe, ours in LAYERS.items():
        if caffe not in layers:
            if ours.startswith("aux_heads."):
                continue
            raise InputError(
                f"{path}: has no weights for layer {caffe}; expected Caffe's bvlc_googlenet"
            )
        if len(layers[caffe]) != 2:
            raise InputError(
                f"{path}: layer {caffe} has {len(layers[caffe])} blobs; expected weights and biases"
            )
        weight, bias = (_tensor(path, caffe, blob) for blob in layers[caffe])
        is_linear = ours.endswith(("fc", "classifier"))
        if weight.ndim < 2:
            raise InputError(
                f"{path}: layer {caffe} has weights of {weight.ndim} dimension; expected 2 or 4"
            )
        # the old format has 1 x 1 x out x in
        weights[f"{ours}.weight"] = weight.flatten(0, -2) if is_linear else weight
        weights[f"{ours}.bias"] = bias.flatten()
    return weights


def _tensor(path: Path, layer: str, blob: Any) -> Tensor:
    shape = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    values = np.fromiter(blob.data, np.float32, len(blob.data))
    if min(shape, default=0) < 1 or math.prod(shape) != len(values):
        raise InputError(f"{path}: layer {layer} has {len(values)} values for a shape of {shape}")
    return torch.from_numpy(values).reshape(shape)


@cache
def message(name: str) -> Any:
    """Return the message class of a name in `FIELDS`."""
    file = descriptor_pb2.FileDescriptorProto(
        name="caffe_weights.proto", package="caffe", syntax="proto2"
    )
    field_type = descriptor_pb2.FieldDescriptorProto
    types = {
        "int32": field_type.TYPE_INT32,
        "int64": field_type.TYPE_INT64,
        "float": field_type.TYPE_FLOAT,
        "string": field_type.TYPE_STRING,
    }
    for message_name, fields in FIELDS.items():
        descriptor = file.message_type.add(name=message_name)
        for field, number, kind, repeated in fields:
            label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            entry = descriptor.field.add(name=field, number=number, label=label)
            if kind in types:
                entry.type = types[kind]
                entry.options.packed = repeated and kind != "string"
            else:
                entry.type, entry.type_name = field_type.TYPE_MESSAGE, f".caffe.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
