"""Several sets of weights in one file: none is guessed."""

import hashlib
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchvision import models

from pipeline.configs.evaluate import ForeignConfig
from pipeline.configs.study import PublishedWeights
from pipeline.errors import InputError
from pipeline.models.weights import read_weights, under_names
from pipeline.paper.published import NEIGHBOURS
from pipeline.tools.external import foreign_study

NETWORK = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
RAW = NETWORK.state_dict()
EMA = {name: tensor + 1 for name, tensor in RAW.items()}


def trained() -> dict[str, Any]:
    """What else a training leaves beside its weights."""
    optimizer = torch.optim.SGD(NETWORK.parameters(), lr=0.1, momentum=0.9)
    sum(parameter.sum() for parameter in NETWORK.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()
    state = optimizer.state_dict()
    adam = torch.optim.Adam([torch.nn.Parameter(torch.ones(2, 2))])
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3).state_dict()
    return {
        "optimizer": state,
        "optimizer_states": [state, adam.state_dict()],
        "lr_scheduler": scheduler,
        "args": Namespace(lr=0.1, ema=True),
        "epoch": 3,
        "rng": {"cpu": torch.get_rng_state(), "cuda": [torch.get_rng_state()]},
        "data": {"mean": torch.ones(3), "std": torch.ones(3)},
    }


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[name], tensor) for name, tensor in expected.items()
    )


@pytest.mark.parametrize(
    "content",
    [
        RAW,
        {"state_dict": RAW},  # Lightning, timm
        {"model": RAW},  # torchvision
        {"net": RAW},
        {"model": {"state_dict": RAW}},
        [RAW],
        {"model": RAW, "state_dict": RAW},  # one under two names
    ],
    ids=lambda content: "-".join(content) if isinstance(content, dict) and len(content) < 5 else "",
)
def test_one_set_is_taken(content: Any, tmp_path: Path) -> None:
    for more in (
        ({}, trained()) if "0.weight" not in content and isinstance(content, dict) else ({},)
    ):
        whole = content | more if more else content
        found = read_weights(saved(tmp_path / "w.pth", whole))
        assert same(found, RAW)
        assert getattr(found, "_metadata", None)  # versions of layers


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        ({"state_dict": RAW, "state_dict_ema": EMA}, ("state_dict", "state_dict_ema")),  # timm
        ({"model": RAW, "model_ema": EMA}, ("model", "model_ema")),  # torchvision
        ({"student": RAW, "teacher": EMA}, ("student", "teacher")),
        ({"model": {"raw": RAW, "ema": EMA}}, ("model.raw", "model.ema")),
        (
            {"state_dict": RAW, "callbacks": {"EMA": {"weights": EMA}}},  # Lightning
            ("state_dict", "callbacks.EMA.weights"),
        ),
        ([RAW, EMA], ("0", "1")),
        ({"models": [RAW, EMA]}, ("models.0", "models.1")),
        ({**RAW, "ema": EMA}, (".", "ema")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_of_two_sets_none_is_guessed(content: Any, keys: tuple[str, str], tmp_path: Path) -> None:
    if isinstance(content, dict):
        content = content | trained()
    path = saved(tmp_path / "w.pth", content)
    listed = ", ".join(f"{key} ({len(RAW)} tensors)" for key in keys)
    with pytest.raises(
        InputError, match=re.escape(f"2 sets of weights: {listed}; choose one by --w")
    ):
        read_weights(path)
    raw, ema = (read_weights(path, key) for key in keys)
    assert same(raw, RAW)
    assert same(ema, EMA)
    with pytest.raises(
        InputError, match=re.escape(f"under --weights-key x; expected one of {listed}")
    ):
        read_weights(path, "x")


def test_an_average_without_names_is_not_passed_over(tmp_path: Path) -> None:
    """torch_ema's."""
    path = saved(tmp_path / "w.pth", {"model": RAW, "ema": {"shadow_params": [*EMA.values()]}})
    with pytest.raises(InputError, match=r"ema\.shadow_params \(9 tensors without names\); choose"):
        read_weights(path)
    assert same(read_weights(path, "model"), RAW)
    with pytest.raises(
        InputError, match=r"is a list of tensors without names .*, which fits no network"
    ):
        read_weights(path, "ema.shadow_params")


def test_an_averaged_model_is_one_set(tmp_path: Path) -> None:
    state = AveragedModel(NETWORK).state_dict()
    assert same(read_weights(saved(tmp_path / "w.pth", state)), state)


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def test_a_key_may_be_the_beginning_of_a_longer_one(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", {"model": RAW, "model_ema": {"module": EMA}})
    assert same(read_weights(path, "model_ema"), EMA)


def test_a_key_may_be_the_beginning_of_the_names(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(prefixed("model", RAW) | prefixed("model_ema.module", EMA), path)
    assert same(read_weights(path, "model"), RAW)
    assert same(read_weights(path, "model_ema"), prefixed("module", EMA))
    with pytest.raises(InputError, match="has no weights under --weights-key mine"):
        read_weights(path, "mine")
    whole = read_weights(path)
    expected = "holds 2 sets of weights: model, model_ema.module; choose one by --weights-key"
    with pytest.raises(InputError, match=expected):
        under_names(RAW.keys(), whole, path)


@pytest.mark.parametrize("prefix", ["module", "_orig_mod", "model", "module.encoder"])
def test_a_prefix_of_all_names_is_taken_off_and_said(prefix: str) -> None:
    own, remark = under_names(RAW.keys(), prefixed(prefix, RAW), Path("w"))
    assert same(own, RAW)
    assert remark == f"the names of its weights begin with {prefix}., which is taken off"
    more = prefixed(prefix, RAW) | {"loss.weight": torch.ones(2)}
    own, remark = under_names(RAW.keys(), more, Path("w"))
    assert same(own, RAW)
    assert remark.endswith("and 1 tensors are left out (the first: loss.weight)")
    assert under_names(RAW.keys(), dict(RAW), Path("w")) == (RAW, "")


def test_files_of_one_set_take_no_key(tmp_path: Path) -> None:
    (tmp_path / "w.caffemodel").touch()
    with pytest.raises(
        InputError, match=r"holds one set of weights.* go without --weights-key model"
    ):
        read_weights(tmp_path / "w.caffemodel", "model")
    empty: tuple[Any, ...] = ({"epoch": 3}, [], {}, {"optimizer": trained()["optimizer"]}, 3)
    for content in empty:
        with pytest.raises(InputError, match="holds no state dict"):
            read_weights(saved(tmp_path / "w.pth", content))


def test_the_key_is_part_of_the_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", {"model": RAW, "model_ema": EMA})
    raw, ema = (
        foreign_study("torchvision:resnet18", path, tmp_path, weights_key=key).check.results[0]
        for key in ("model", "model_ema")
    )
    assert raw.hash != ema.hash
    classifier = raw.members[0].classifier
    assert isinstance(classifier, ForeignConfig)
    with pytest.raises(ValueError, match="weights_key model without weights"):
        classifier.but(arch="python:f", weights=None, sha256=None, code=path, code_sha256="0" * 64)


def test_published_weights_are_known_by_their_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And by the user's word; other weights have no published errors to show."""
    path = tmp_path / "w.safetensors"
    save_file(models.resnet18(num_classes=3).state_dict(), path)
    digits = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    assert foreign_study("torchvision:resnet18", path, tmp_path).check.neighbour is None
    with pytest.raises(InputError, match="those are weights of torchvision:googlenet, and --arch"):
        foreign_study("torchvision:resnet18", path, tmp_path, published_as="R7")
    caffes = next(each for each in NEIGHBOURS if each.id == "R8")
    monkeypatch.setattr(
        "pipeline.tools.external.NEIGHBOURS", (caffes._replace(weights_digest=f"sha256:{digits}"),)
    )
    known = foreign_study("torchvision:resnet18", path, tmp_path)
    assert known.check.neighbour == PublishedWeights(id="R8")
