"""Caffe's weights, against an independent implementation: OpenCV runs the same file
from a prototxt written here.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

from pipeline.configs.evaluate import ForeignConfig
from pipeline.errors import InputError
from pipeline.models import caffe
from pipeline.models.loading import foreign_classifier
from pipeline.paper.googlenet import GoogLeNet, normalise
from pipeline.paper.inception import INCEPTIONS, POOL_AFTER
from pipeline.paper.initialisation import initialise_caffe
from pipeline.paper.preprocessing import CAFFE_PREPROCESSING

CLASSES = 1000


def prototxt() -> str:
    """bvlc_googlenet's deploy file: the network as Caffe's layers, named as Caffe names
    them.
    """
    lines = [
        'name: "GoogleNet"',
        'input: "data"',
        "input_dim: 1 input_dim: 3 input_dim: 224 input_dim: 224",
    ]

    def layer(name: str, kind: str, bottom: list[str], top: str, parameters: str = "") -> str:
        bottoms = " ".join(f'bottom: "{b}"' for b in bottom)
        lines.append(
            f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{top}" {parameters} }}'
        )
        return top

    def conv(name: str, bottom: str, outputs: int, kernel: int, stride: int = 1) -> str:
        parameters = (
            f"num_output: {outputs} kernel_size: {kernel} stride: {stride} pad: {kernel // 2}"
        )
        layer(name, "Convolution", [bottom], name, f"convolution_param {{ {parameters} }}")
        return layer(f"{name}/relu", "ReLU", [name], name)

    def pool(name: str, bottom: str, parameters: str) -> str:
        return layer(name, "Pooling", [bottom], name, f"pooling_param {{ {parameters} }}")

    def lrn(name: str, bottom: str) -> str:
        return layer(
            name, "LRN", [bottom], name, "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"
        )

    half = "pool: MAX kernel_size: 3 stride: 2"
    x = lrn("pool1/norm1", pool("pool1/3x3_s2", conv("conv1/7x7_s2", "data", 64, 7, 2), half))
    x = lrn("conv2/norm2", conv("conv2/3x3", conv("conv2/3x3_reduce", x, 64, 1), 192, 3))
    x = pool("pool2/3x3_s2", x, half)
    for name, n in INCEPTIONS.items():
        at = f"inception_{name}"
        pooled = pool(f"{at}/pool", x, "pool: MAX kernel_size: 3 stride: 1 pad: 1")
        branches = [
            conv(f"{at}/1x1", x, n.n1x1, 1),
            conv(f"{at}/3x3", conv(f"{at}/3x3_reduce", x, n.n3x3_reduce, 1), n.n3x3, 3),
            conv(f"{at}/5x5", conv(f"{at}/5x5_reduce", x, n.n5x5_reduce, 1), n.n5x5, 5),
            conv(f"{at}/pool_proj", pooled, n.pool_proj, 1),
        ]
        x = layer(f"{at}/output", "Concat", branches, f"{at}/output")
        if name in POOL_AFTER:
            x = pool(f"pool_{name}", x, half)
    x = pool("pool5/7x7_s1", x, "pool: AVE kernel_size: 7 stride: 1")
    x = layer(
        "loss3/classifier",
        "InnerProduct",
        [x],
        "loss3/classifier",
        f"inner_product_param {{ num_output: {CLASSES} }}",
    )
    layer("prob", "Softmax", [x], "prob")
    return "\n".join(lines)


def caffemodel(weights: dict[str, Tensor], old_format: bool = False) -> bytes:
    """Our weights as a Caffe model."""
    net: Any = caffe.message("NetParameter")(name="GoogleNet")
    for name, ours in caffe.LAYERS.items():
        if f"{ours}.weight" not in weights:
            continue
        layer = (net.layers if old_format else net.layer).add(name=name)
        if not old_format:
            layer.type = "InnerProduct" if ours.endswith(("fc", "classifier")) else "Convolution"
        for tensor in (weights[f"{ours}.weight"], weights[f"{ours}.bias"]):
            blob = layer.blobs.add(data=tensor.flatten().tolist())
            if old_format:
                blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - tensor.ndim) + tuple(
                    tensor.shape
                )
            else:
                blob.shape.dim.extend(tensor.shape)
    content: bytes = net.SerializeToString()
    return content


@pytest.fixture(scope="module")
def network() -> GoogLeNet:
    """Random weights whose probabilities differ from class to class."""
    torch.manual_seed(0)
    network = GoogLeNet().eval()
    initialise_caffe(network, torch.Generator().manual_seed(0))
    network.classifier.weight.data *= 3
    return network


def config(path: Path) -> ForeignConfig:
    mean, std, order = CAFFE_PREPROCESSING
    return ForeignConfig(
        arch="googlenet", weights=path, sha256="0" * 64, mean=mean, std=std, channel_order=order
    )


def test_opencv_gives_the_same_probabilities(tmp_path: Path, network: GoogLeNet) -> None:
    """On scikit-learn's photographs, cropped to 224."""
    path = tmp_path / "bvlc_googlenet.caffemodel"
    path.write_bytes(caffemodel(network.state_dict()))
    (tmp_path / "deploy.prototxt").write_text(prototxt())
    opencv = cv2.dnn.readNetFromCaffe(str(tmp_path / "deploy.prototxt"), str(path))
    ours = foreign_classifier(config(path), CLASSES)
    differences = []
    for photograph in load_sample_images().images:
        for left in (0, 150, 400):
            pixels = np.ascontiguousarray(photograph[100:324, left : left + 224])
            bgr = pixels[:, :, ::-1].astype(np.float32) - np.array([104, 117, 123], np.float32)
            opencv.setInput(np.ascontiguousarray(bgr.transpose(2, 0, 1)[None]))
            expected = opencv.forward()[0]
            with torch.no_grad():
                found = ours.network.eval()(
                    normalise(torch.from_numpy(pixels)[None], ours.preprocessing)
                ).softmax(1)[0]
            assert expected.max() > 2 / CLASSES
            differences.append(np.abs(found.numpy() - expected).max())
    print(f"largest difference of probabilities: {max(differences):.2e}")
    assert max(differences) < 1e-5


@pytest.mark.parametrize("old_format", [False, True])
def test_both_layer_formats_and_the_heads(
    tmp_path: Path, network: GoogLeNet, old_format: bool
) -> None:
    path = tmp_path / "model.caffemodel"
    path.write_bytes(caffemodel(network.state_dict(), old_format))
    loaded = caffe.googlenet_weights(path)
    assert loaded.keys() == network.state_dict().keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in network.state_dict().items())


def test_wrong_files_are_named(tmp_path: Path, network: GoogLeNet) -> None:
    path = tmp_path / "model.caffemodel"
    path.write_bytes(b"\xff" * 50)
    with pytest.raises(InputError, match="is not a Caffe model"):
        foreign_classifier(config(path), CLASSES)
    weights = dict(network.state_dict())
    weights.pop("inceptions.4c.branch5x5.conv.weight")
    path.write_bytes(caffemodel(weights))
    with pytest.raises(
        InputError,
        match="has no weights for layer inception_4c/5x5; expected Caffe's bvlc_googlenet",
    ):
        foreign_classifier(config(path), CLASSES)
    path.write_bytes(caffemodel(network.state_dict()))
    with pytest.raises(
        InputError,
        match=r"classifier.weight has shape \(1000, 1024\); the network expects \(10, 1024\)",
    ):
        foreign_classifier(config(path), 10)
