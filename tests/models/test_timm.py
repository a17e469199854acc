"""GoogLeNet as timm, torch.export, torch.compile and TorchScript take it. (timm's own
model tests pass too: docs/tasks/network.md.)
"""

import math
from typing import Any

import pytest
import timm
import torch
from timm.data.config import resolve_data_config
from timm.optim import _param_groups

import going_deeper.timm
from pipeline.models.timm_entry import ENTRIES, register_with_timm
from pipeline.paper.googlenet import GoogLeNet

NARROW: dict[str, Any] = {"width": 0.125, "num_classes": 5}


def make(name: str = "googlenet", **options: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name, **NARROW | options)


def images(channels: int = 3, side: int = 224) -> torch.Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ENTRIES)
def test_each_variant_is_our_network_with_timms_interface(name: str) -> None:
    """Weights have the same names, and give the same bits; the head can be taken off
    and put on; each map has the size and the channels that timm reads.
    """
    network = make(name).eval()
    changes = going_deeper.timm.VARIANTS[name]
    ours = GoogLeNet(5, **{"aux_heads": (), **changes, "width": 0.125}).eval()
    ours.load_state_dict(network.state_dict())
    x = images()
    with torch.no_grad():
        assert torch.equal(network(x), ours(x))
        last = network.forward_features(x)
        assert tuple(last.shape[2:]) == network.pretrained_cfg["pool_size"] == (7, 7)
        assert torch.equal(network.forward_head(last), ours(x))
        assert network.forward_head(last, pre_logits=True).shape == (2, network.head_hidden_size)
        again, maps = network.forward_intermediates(x)
        assert torch.equal(again, last)
    sizes = [(m.shape[1], 224 // m.shape[2]) for m in maps]
    assert sizes == [(info["num_chs"], info["reduction"]) for info in network.feature_info]
    for field in ("first_conv", "classifier"):
        names = network.pretrained_cfg[field]
        for each in (names,) if isinstance(names, str) else names:
            assert f"{each}.weight" in network.state_dict()
    network.reset_classifier(0, "")
    assert torch.equal(network(x), last)
    network.reset_classifier(3, "max")
    assert network(x).shape == (2, 3)


def test_training_returns_a_tensor_or_one_for_each_head() -> None:
    x = images()
    assert make().train()(x).shape == (2, 5)
    main, *heads = make("googlenet_aux").train()(x)
    assert [tuple(each.shape) for each in (main, *heads)] == [(2, 5)] * 3
    assert GoogLeNet(5, width=0.125, aux_heads=()).train()(x).shape == (2, 5)


def test_maps_alone_train_with_checkpointing() -> None:
    """The gradients are those without; what lies above the last map is gone."""
    gradients = []
    for enable in (False, True):
        maps = make(features_only=True, out_indices=(1, 3)).train()
        maps.set_grad_checkpointing(enable)
        assert maps.feature_info.module_name() == ["conv2", "inceptions.4e"]
        sum(each.square().mean() for each in maps(images())).backward()
        gradients.append([parameter.grad for parameter in maps.parameters()])
    assert not any(each is None for each in gradients[0])
    torch.testing.assert_close(*gradients)


def test_options_of_timms() -> None:
    network = make(in_chans=1, drop_rate=0.1, global_pool="catavgmax", dropout=0.2).eval()
    assert network(images(1)).shape == (2, 5)
    assert (network.dropout.p, network.head_hidden_size) == (0.2, 2 * network.num_features)
    others = {"mean": (0.4, 0.4, 0.4), "std": (1.0, 1.0, 1.0)}
    network = make(pretrained_cfg_overlay=others, img_size=112)
    found = resolve_data_config({}, model=network)
    assert {name: found[name] for name in others} == others
    assert (found["input_size"], network.pretrained_cfg["pool_size"]) == ((3, 112, 112), (3, 3))
    x = images()
    turned, straight = make(channel_order="bgr").eval(), make().eval()
    assert torch.equal(turned(x), straight(x.flip(1)))
    assert torch.equal(turned.dense(x), straight.dense(x.flip(1)))
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        make(depth=3)
    with pytest.raises(ValueError, match="expected a square"):
        make(img_size=(224, 112))
    with pytest.raises(ValueError, match='expected a network with head="fully_connected"'):
        make(global_pool="fc")


def test_layers_have_an_order_of_depth() -> None:
    """Layer decay gives the first layer the smallest rate, and the classifier all."""
    network = make("googlenet_aux")
    assert network.no_weight_decay() == set()
    by_depth: Any = _param_groups.param_groups_layer_decay
    groups = by_depth(network, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    names = ("conv1.conv", "conv2.conv", "inceptions.3a.pool_proj.conv", "inceptions.5b.pool_proj")
    order = [
        scale[id(p)]
        for name in (*names, "classifier")
        for each, p in network.named_parameters()
        if each.startswith(name) and each.endswith("weight")
    ]
    assert order == sorted(set(order))
    assert order[-1] == 1
    coarse = network.group_matcher(coarse=True)
    assert [coarse(f"{name}.x") for name in ("conv2", "inceptions.4c", "classifier")] == [
        (0, 0),
        (1, 4),
        (math.inf,),
    ]


@pytest.mark.slow  # three compilers
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_compilers_take_it() -> None:
    """torch.jit.trace and .script, torch.export, and torch.compile without a break."""
    jit: Any = torch.jit
    network, x = make().eval(), images()
    with torch.no_grad():
        expected = network(x)
        others: tuple[Any, ...] = (
            jit.trace(network, x),
            jit.script(network),
            torch.export.export(network, (x,)).module(),
            torch.compile(network, backend="eager", fullgraph=True),
        )
        for other in others:
            torch.testing.assert_close(other(x), expected)
    trained: Any = torch.compile(make("googlenet_aux").train(), backend="eager", fullgraph=True)
    assert len(trained(x)) == 3


def test_registering_again_changes_nothing() -> None:
    register_with_timm()
    assert set(ENTRIES) == set(timm.list_models("googlenet*"))
