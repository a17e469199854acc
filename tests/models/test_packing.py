"""Packed convolutions, and the size of a batch."""

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.models.engine import Engine
from pipeline.models.fast_network import fastest_batch
from pipeline.models.loading import Classifier
from pipeline.models.packing import PackedConv, pack
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.preprocessing import PREPROCESSING

CPU = torch.device("cpu")


def images(*shape: int) -> Tensor:
    pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return pixels.to(memory_format=torch.channels_last)


@settings(max_examples=40, deadline=None)
@given(
    kernel=st.integers(1, 7),
    stride=st.integers(1, 3),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 2),
    groups=st.sampled_from((1, 2, 4)),
    bias=st.booleans(),
    relu=st.booleans(),
    later=st.sampled_from((1, 3, 17)),
)
def test_a_packed_convolution_is_the_same_function(
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
    bias: bool,
    relu: bool,
    later: int,
) -> None:
    """Also for other shapes than the first batch's."""
    conv = nn.Conv2d(4, 8, kernel, stride, padding, dilation, groups, bias)
    network = nn.Sequential(conv, nn.ReLU(inplace=True)) if relu else nn.Sequential(conv)
    packed = copy.deepcopy(network)
    assert pack(packed, CPU, "fp32")
    assert isinstance(packed[0], PackedConv)
    for shape in ((5, 4, 15, 16), (later, 4, 21, 14)):
        x = images(*shape)
        with torch.no_grad():
            torch.testing.assert_close(packed(x), network(x), atol=1e-5, rtol=1e-5)


def test_bfloat16_is_packed_and_takes_float32() -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1).to(torch.bfloat16)
    packed = nn.Sequential(copy.deepcopy(conv))
    # oneDNN has no bfloat16 on an older processor
    assert pack(packed, CPU, "bf16") == torch.ops.mkldnn._is_mkldnn_bf16_supported()
    x = images(6, 8, 9, 9)
    if not isinstance(packed[0], PackedConv):
        return
    y = packed(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, conv(x.to(torch.bfloat16)), atol=2e-2, rtol=2e-2)


class Odd(nn.Conv2d):
    pass


def with_hook(conv: nn.Conv2d) -> nn.Conv2d:
    conv.register_forward_hook(lambda *_: None)
    return conv


@pytest.mark.parametrize(
    ("conv", "precision"),
    [
        (Odd(4, 4, 3), "fp32"),
        (with_hook(nn.Conv2d(4, 4, 3)), "fp32"),
        (nn.Conv2d(4, 4, 3, padding="same"), "fp32"),
        (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "fp32"),
        (nn.Conv2d(4, 4, 3).double(), "fp32"),
        (nn.Conv2d(4, 4, 3), "bf16"),  # its weights are float32
        (nn.Conv2d(4, 4, 3), "fp16"),
    ],
)
def test_what_may_compute_something_else_stays(conv: nn.Conv2d, precision: str) -> None:
    network = nn.Sequential(conv)
    assert not pack(network, CPU, precision)
    assert network[0] is conv


def test_other_inputs_are_the_original_s() -> None:
    conv = nn.Conv2d(4, 4, 3)
    packed = nn.Sequential(copy.deepcopy(conv), nn.ReLU())
    assert pack(packed, CPU, "fp32")
    image = images(1, 4, 9, 9)[0]
    assert torch.equal(packed(image), conv(image).relu())
    with pytest.raises(RuntimeError):
        packed(images(2, 4, 9, 9).double())


class Branches(nn.Module):
    """A ReLU that does not follow its convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(4, 4, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.relu(x))  # type: ignore[no-any-return]


def test_a_relu_elsewhere_stays() -> None:
    network, packed = Branches(), Branches()
    packed.load_state_dict(network.state_dict())
    assert pack(packed, CPU, "fp32")
    x = images(2, 4, 5, 5)
    torch.testing.assert_close(packed(x), network(x))
    assert packed(x).min() < 0


@pytest.mark.parametrize(
    ("side", "width", "batch"),
    [(224, 1, 12), (224, 0.5, 24), (112, 0.5, 72), (112, 0.25, 144), (56, 0.25, 144), (448, 1, 12)],
)
def test_a_batch_is_as_large_as_activations_allow(side: int, width: float, batch: int) -> None:
    network = GoogLeNet(10, side, width, aux_heads=()).eval()
    assert fastest_batch(network, images(1, 3, side, side), "fp32") == batch


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_other_crop_moves_a_bit(precision: str) -> None:
    """Each crop has the same bits at every place of a batch, whatever is beside it."""
    network = GoogLeNet(10, 42, 0.25, aux_heads=())
    engine = Engine(Classifier(network, PREPROCESSING, 42), CPU, precision)
    batch = engine.pixels.batch(engine.batch_size)
    batch.copy_(images(*batch.shape).contiguous())
    expected = engine.probabilities(batch).clone()
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(1))
    assert torch.equal(engine.probabilities(batch[order].contiguous()), expected[order])


def test_an_older_torch_packs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Older:
        _is_mkldnn_bf16_supported: Any = staticmethod(lambda: True)

    monkeypatch.setattr(torch.ops, "mkldnn", Older())
    assert not pack(nn.Sequential(nn.Conv2d(4, 4, 3)), CPU, "fp32")
