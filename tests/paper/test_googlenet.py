"""The network is Table 1's, to the parameter."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.configs import recipes
from pipeline.configs.network import NetworkConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.paper.augmentation import stream, training_patch
from pipeline.paper.googlenet import AUX_WEIGHT, GoogLeNet, Logits, output_losses, training_loss
from pipeline.paper.initialisation import INITIALISATIONS
from pipeline.paper.layers import LocalResponseNorm, max_pool
from pipeline.paper.order import epoch_order

# Table 1: height, width, channels after each row; and PAPER.md 1.2: weights and biases
# of each row
OUTPUTS = {
    "conv1": (112, 64),
    "pool1": (56, 64),
    "conv2": (56, 192),
    "pool2": (28, 192),
    "3a": (28, 256),
    "3b": (28, 480),
}
OUTPUTS |= {"4a": (14, 512), "4b": (14, 512), "4c": (14, 512), "4d": (14, 528), "4e": (14, 832)}
OUTPUTS |= {"5a": (7, 832), "5b": (7, 1024), "head.0": (1, 1024)}
PARAMETERS = {
    "conv1": 9_472,
    "3a": 163_696,
    "3b": 388_736,
    "4a": 376_176,
    "4b": 449_160,
    "4c": 510_104,
}
PARAMETERS |= {
    "4d": 605_376,
    "4e": 868_352,
    "5a": 1_043_456,
    "5b": 1_444_080,
    "classifier": 1_025_000,
}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def part(network: GoogLeNet, name: str) -> nn.Module:
    return network.inceptions[name] if name[0].isdigit() else network.get_submodule(name)


@pytest.fixture(scope="module")
def network() -> GoogLeNet:
    return GoogLeNet()


def test_parameters(network: GoogLeNet) -> None:
    """A1, A2, A3, A4, A5."""
    heads = {name: count(head) for name, head in network.aux_heads.items()}
    assert count(network) == 13_378_280
    assert heads == {"4a": 3_188_840, "4d": 3_190_888}
    assert count(network) - sum(heads.values()) == count(GoogLeNet(aux_heads=())) == 6_998_552
    assert {name: count(part(network, name)) for name in PARAMETERS} == PARAMETERS
    assert count(network.conv2) + count(network.conv2_reduce) == 114_944
    main = [p for name, p in network.named_parameters() if not name.startswith("aux_heads")]
    assert sum(p.numel() for p in main if p.ndim > 1) == 6_990_272
    assert sum(p.numel() for p in main if p.ndim == 1) == 8_280


def test_shapes_and_operations(network: GoogLeNet) -> None:
    """A6, A10, A11, A23: output of each row, multiply-adds, and a ReLU behind each of
    the 57 convolutions.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    order: list[str] = []
    network.eval()
    hooks = [
        part(network, name).register_forward_hook(
            lambda _m, _i, out, name=name: shapes.update({name: tuple(out.shape[1:])})
        )
        for name in OUTPUTS
    ]
    hooks += [
        module.register_forward_hook(lambda m, _i, _o: order.append(type(m).__name__))
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.ReLU)
    ]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 224, 224))
    for hook in hooks:
        hook.remove()
    assert shapes == {name: (channels, side, side) for name, (side, channels) in OUTPUTS.items()}
    assert order == ["Conv2d", "ReLU"] * 57
    norms = (64 * 64 + 192 * 192) * 56 * 56  # the band matrices are ours, not the paper's
    assert counter.get_total_flops() // 2 - norms == 1_582_671_872
    for name, channels in (("4a", 512), ("4d", 528)):
        assert network.aux_heads[name].get_submodule("pool")(
            torch.zeros(1, channels, 14, 14)
        ).shape == (1, channels, 4, 4)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-6), (torch.float32, 1e-5)])
def test_local_response_norm_is_caffes(dtype: torch.dtype, rtol: float) -> None:
    """A19."""
    x = 200 * torch.randn(2, 64, 5, 6, dtype=dtype, generator=torch.Generator().manual_seed(0))
    norm = LocalResponseNorm(64).to(dtype)
    if dtype == torch.float64:  # the float32 rounding of alpha / size is not the formula's
        norm.band = (norm.band != 0).double() * (1e-4 / 5)
    reference = torch.nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)(x)
    torch.testing.assert_close(norm(x), reference, rtol=rtol, atol=0)


def test_pools_round_up() -> None:
    """A18: a stride-2 pool is a pool padded right and below with -inf, and is not one
    with padding 1.
    """
    x = torch.randn(1, 2, 14, 14, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(x, (0, 1, 0, 1), value=float("-inf"))
    assert torch.equal(max_pool(2)(x), torch.nn.functional.max_pool2d(padded, 3, 2))
    assert not torch.equal(max_pool(2)(x), torch.nn.functional.max_pool2d(x, 3, 2, padding=1))


def test_heads_work_in_training_only() -> None:
    """A24: evaluation ignores the heads; training returns their logits too."""
    network = GoogLeNet(num_classes=10, input_size=112, width=0.25)
    images = torch.randn(2, 3, 112, 112)
    before = network.eval()(images)
    for p in network.aux_heads.parameters():
        p.data.fill_(float("nan"))
    assert torch.equal(network(images), before)
    outputs = network.train()(images)
    assert isinstance(outputs, Logits)
    assert [tuple(out.shape) for out in (outputs.main, *outputs.aux)] == [(2, 10)] * 3
    bare = GoogLeNet(num_classes=10, input_size=112, width=0.25, aux_heads=()).train()
    assert bare(images).shape == (2, 10)


def test_loss_weighs_the_heads() -> None:
    """T1."""
    main, a, b = torch.randn(3, 4, 7)
    labels = torch.tensor([0, 1, 2, 3])
    ce = torch.nn.functional.cross_entropy
    expected = ce(main, labels) + 0.3 * (ce(a, labels) + ce(b, labels))
    torch.testing.assert_close(
        training_loss(output_losses(Logits(main, (a, b)), labels)), expected, rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("input_size", [42, 56, 112, 126, 224, 238])
def test_other_input_sizes(input_size: int) -> None:
    outputs = GoogLeNet(num_classes=5, input_size=input_size, width=0.125)(
        torch.zeros(1, 3, input_size, input_size)
    )
    assert [tuple(out.shape) for out in (outputs.main, *outputs.aux)] == [(1, 5)] * 3


# at AlexNet's deviation the signal does fade
@pytest.mark.parametrize("name", ["kaiming", "caffe"])
def test_initialisation_keeps_the_signal(name: str) -> None:
    """Logits of the untrained network neither vanish nor explode, and a seed gives the
    same weights again.
    """
    networks = [GoogLeNet(input_size=112, width=0.5, aux_heads=()).eval() for _ in range(2)]
    for network in networks:
        INITIALISATIONS[name](network, torch.Generator().manual_seed(3))
    images = torch.randn(4, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, other = (network(images) for network in networks)
    assert torch.equal(one, other)
    assert 1e-3 < one.std().item() < 10


def test_study_defaults_are_the_papers() -> None:
    """The study cannot import torch, so it repeats the figures."""
    parameters = inspect.signature(GoogLeNet).parameters
    assert NetworkConfig().model_dump() == {
        name: p.default for name, p in parameters.items() if name != "num_classes"
    }
    assert TrainConfig.model_fields["aux_weight"].default == AUX_WEIGHT


def test_options() -> None:
    """A8, A9, A20 by the audit; here that every option builds, runs, and is off by
    default.
    """
    for option in (
        {"conv1": "separable"},
        {"modules": "naive"},
        {"norm": "batch"},
        {"norm": "none"},
        {"head": "fully_connected"},
        {"aux_heads": ("4a",)},
    ):
        network = GoogLeNet(num_classes=7, input_size=112, width=0.125, **option)
        outputs = network(torch.zeros(2, 3, 112, 112))
        heads = len(option.get("aux_heads", ("4a", "4d")))
        assert [tuple(out.shape) for out in (outputs.main, *outputs.aux)] == [(2, 7)] * (1 + heads)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in GoogLeNet().modules())
    with_norm = GoogLeNet(aux_heads=(), norm="batch")
    assert sum(isinstance(m, nn.BatchNorm2d) for m in with_norm.modules()) == 57
    assert not any(isinstance(m, LocalResponseNorm) for m in with_norm.modules())
    connected = count(GoogLeNet(aux_heads=(), head="fully_connected"))
    assert connected == 6_998_552 + 7 * 7 * 1024 * 1024 + 1024


def test_members_share_their_initial_weights() -> None:
    """T10: equal initial weights, other order and sampling; the seventh is wider."""
    data = PrepareConfig(source="digits", name="digits")
    members = recipes.seven_members(recipes.paper(data))
    widths = [member.shape and member.shape.width for member in members]
    assert widths == [1.0] * 6 + [recipes.WIDER]
    assert len({member.init_seed for member in members}) == 1
    assert len({member.data_seed for member in members}) == 7
    networks = [GoogLeNet(num_classes=10, width=0.125, aux_heads=()) for _ in members[:2]]
    for member, network in zip(members, networks, strict=False):
        INITIALISATIONS[member.init](network, torch.Generator().manual_seed(member.init_seed))
    one, other = (network.state_dict() for network in networks)
    assert all(torch.equal(one[name], other[name]) for name in one)
    patches = [
        training_patch(stream("patch", member.data_seed, 0, 0), 500, 375) for member in members
    ]
    assert len(set(patches)) == 7
    orders = [tuple(epoch_order(np.arange(50) % 5, member.data_seed, 0)) for member in members]
    assert len(set(orders)) == 7


@pytest.mark.parametrize(
    "option",
    [{"norm": "bn"}, {"modules": "x"}, {"conv1": "x"}, {"head": "x"}, {"aux_heads": ("4b",)}],
    ids=str,
)
def test_unknown_options_are_named(option: dict[str, str]) -> None:
    with pytest.raises(
        ValueError, match=r"(norm|modules|conv1|head|aux_heads) = '\w+': expected one of "
    ):
        GoogLeNet(**option)  # type: ignore[arg-type]


def test_dense_evaluation_slides_the_head() -> None:
    """At the input's size there is one place, and it is the network's output; larger
    images have one every 32 px.
    """
    network = GoogLeNet(5, input_size=64, width=0.25, aux_heads=()).eval()
    with torch.no_grad():
        x = torch.randn(2, 3, 64, 64)
        torch.testing.assert_close(network.dense(x)[:, :, 0, 0], network(x))
        wide = network.dense(torch.randn(1, 3, 64, 160))
    assert network.dense(x).shape == (2, 5, 1, 1)
    assert wide.shape == (1, 5, 1, 4)
    assert not GoogLeNet(5, input_size=64, width=0.25, head="fully_connected").is_dense
