"""Files of weights as the libraries themselves write them, and how they are refused."""

import json
import sys
from argparse import Namespace
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import timm
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from timm.models import _hub
from timm.utils.checkpoint_saver import CheckpointSaver
from timm.utils.model_ema import ModelEmaV2
from torch import nn

from pipeline.errors import InputError
from pipeline.models.weight_files import described_beside, digest_of_weights, weights_file
from pipeline.models.weights import read_weights, under_names
from pipeline.tools.external import foreign_study

NAME = "test_resnet.r160_in1k"  # timm's own for tests: 0.5 million weights


@pytest.fixture(scope="module")
def network() -> nn.Module:
    return timm.create_model(NAME, pretrained=False, num_classes=7)


def is_read(path: Path, network: nn.Module, key: str | None = None) -> str:
    """Compare what is read with the network; return the remark."""
    expected = network.state_dict()
    weights, remark = under_names(expected, read_weights(path, key), path)
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
    return remark


def test_timms_trainer(network: nn.Module, tmp_path: Path) -> None:
    """With its options, its optimiser and an average: one of two sets is chosen."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    saver = CheckpointSaver(
        network,
        optimizer,
        args=Namespace(model="resnet", output=tmp_path),
        model_ema=ModelEmaV2(network),
        checkpoint_dir=str(tmp_path),
        recovery_dir=str(tmp_path),
    )
    saver.save_checkpoint(3, metric=np.float64(71.2))
    path = tmp_path / "last.pth.tar"
    with pytest.raises(InputError, match=r"holds 2 sets of weights: state_dict .*state_dict_ema"):
        read_weights(path)
    for key in ("state_dict", "state_dict_ema"):
        assert is_read(path, network, key) == ""


def test_accelerates_shards_and_prefix(network: nn.Module, tmp_path: Path) -> None:
    accelerator = Accelerator(cpu=True)
    accelerator.save_model(network, tmp_path / "whole")
    assert is_read(tmp_path / "whole", network) == ""
    accelerator.save_model(network, tmp_path / "shards", max_shard_size="500KB")
    index = tmp_path / "shards/model.safetensors.index.json"
    shards = sorted((tmp_path / "shards").glob("*.safetensors"))
    assert len(shards) > 2
    assert weights_file(tmp_path / "shards") == index
    assert is_read(index, network) == ""
    digest = digest_of_weights(index)
    content = shards[1].read_bytes()
    shards[1].write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert digest_of_weights(index) != digest
    shards[1].write_bytes(shards[0].read_bytes())
    with pytest.raises(InputError, match=rf"{shards[1].name}: (lacks|has a tensor)"):
        read_weights(index)
    shards[1].unlink()
    with pytest.raises(InputError, match=f"its shard {shards[1].name} is missing"):
        read_weights(index)
    index.write_text(json.dumps({"weight_map": {"a": "../other.safetensors"}}))
    with pytest.raises(InputError, match="names of files beside it"):
        read_weights(index)


def test_a_folder_of_the_hub_says_all(network: nn.Module, tmp_path: Path) -> None:
    """As timm pushes it, and loads it by `local-dir:`: no --arch is needed."""
    config = {"pretrained_cfg": {"mean": [0.1, 0.2, 0.3], "input_size": [3, 96, 96]}}
    _hub.save_for_hf(network, str(tmp_path), model_config=config, safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert is_read(tmp_path, again) == ""
    theirs = described_beside(weights_file(tmp_path))
    assert (theirs.arch, theirs.input_size) == ("timm:test_resnet", 96)
    assert theirs.mean == pytest.approx((25.5, 51, 76.5))
    (evaluation,) = foreign_study(None, tmp_path, tmp_path).check.results[0].members
    classifier = evaluation.classifier
    assert (classifier.arch, classifier.input_size) == ("timm:test_resnet", 96)
    assert classifier.mean == theirs.mean  # type: ignore[union-attr]
    (tmp_path / "config.json").write_text('{"model": "resnet"}')
    with pytest.raises(InputError, match=r"config.json: is no config of timm's.*give --arch"):
        foreign_study(None, tmp_path, tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match="--arch: is missing; expected googlenet, torchvision"):
        foreign_study(None, tmp_path, tmp_path)


def test_torchvisions_reference_training(network: nn.Module, tmp_path: Path) -> None:
    """The dictionary of its references/classification/train.py, with an average."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    checkpoint = {
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 30).state_dict(),
        "epoch": 3,
        "args": Namespace(model="resnet", output_dir=str(tmp_path), device=torch.device("cpu")),
        "model_ema": torch.optim.swa_utils.AveragedModel(network).state_dict(),
        "scaler": torch.amp.GradScaler("cpu").state_dict(),
    }
    path = tmp_path / "checkpoint.pth"
    torch.save(checkpoint, path)
    with pytest.raises(InputError, match=r"holds 2 sets of weights: model .*model_ema"):
        read_weights(path)
    assert is_read(path, network, "model") == ""
    assert "begin with module., which is taken off" in is_read(path, network, "model_ema")


def test_transformers_folders_are_refused_with_a_way_on(network: nn.Module, tmp_path: Path) -> None:
    """Whether an --arch is given or not; its wrapper of timm's networks is timm's."""
    weights = {f"timm_model.{name}": tensor for name, tensor in network.state_dict().items()}
    save_file(weights, tmp_path / "model.safetensors")
    config = {"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for arch in (None, "timm:test_resnet", "torchvision:resnet18"):
        with pytest.raises(
            InputError,
            match=r"transformers \(ResNetForImageClassification\), whose weights .*--arch timm",
        ):
            foreign_study(arch, tmp_path, tmp_path)
    code = tmp_path / "mine.py"
    code.write_text("def network(num_classes): ...")
    foreign_study(
        f"{code}:network", tmp_path, tmp_path, input_size=64, mean=(0, 0, 0), std=(1, 1, 1)
    )
    wrapped: dict[str, Any] = {
        "architectures": ["TimmWrapperForImageClassification"],
        "model_type": "timm_wrapper",
    }
    wrapped |= {"architecture": "test_resnet", "pretrained_cfg": {"input_size": [3, 96, 96]}}
    (tmp_path / "config.json").write_text(json.dumps(wrapped))
    assert described_beside(weights_file(tmp_path)).arch == "timm:test_resnet"
    assert "begin with timm_model., which is taken off" in is_read(
        tmp_path / "model.safetensors", network
    )


def lightnings_dictionary(monkeypatch: pytest.MonkeyPatch, content: dict[str, Any]) -> Any:
    """Lightning's own class, by name: it is not installed where the file is read."""
    name = "lightning.fabric.utilities.data"
    for end in range(1, 5):
        part = ".".join(name.split(".")[:end])
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    kind = type("AttributeDict", (dict,), {"__module__": name, "__qualname__": "AttributeDict"})
    vars(sys.modules[name])["AttributeDict"] = kind
    return kind(content)


@pytest.mark.parametrize("prefix", ["model.", "module.", "_orig_mod.", "encoder.", "net.module."])
@pytest.mark.parametrize("is_old", [False, True])
def test_lightnings_form(
    network: nn.Module, prefix: str, is_old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"lr": np.float32(0.1), "path": tmp_path, "at": datetime.now(UTC)}
    content = {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"{prefix}{name}": t for name, t in network.state_dict().items()},
        "hyper_parameters": lightnings_dictionary(monkeypatch, options),
        "callbacks": {"ModelCheckpoint": {"best_model_path": tmp_path, "scores": np.ones(3)}},
        "loops": {} if is_old else defaultdict(list, fit=[1]),
        "args": Namespace(output=tmp_path, half=torch.float16),
    }
    torch.save(content, tmp_path / "last.ckpt", _use_new_zipfile_serialization=not is_old)
    monkeypatch.undo()
    remark = is_read(tmp_path / "last.ckpt", network)
    assert remark.startswith(f"the names of its weights begin with {prefix}, which is taken off")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (Evil(), "builtins.print"),
        (nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        ([nn.Linear(2, 2), Namespace()], "torch.nn.modules.linear.Linear"),
    ],
)
def test_any_other_class_is_refused_by_name(
    content: Any, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": {"w": torch.ones(2, 2)}, "extra": content}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=f"w.pt: holds an object of {name}, which is not known"):
        read_weights(tmp_path / "w.pt")
    assert capsys.readouterr().out == ""


def test_a_folder_without_one_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder that has no weights; expected --weights"):
        weights_file(tmp_path)
    for name in ("a.pt", "b.pth"):
        torch.save({}, tmp_path / name)
    with pytest.raises(InputError, match=r"is a folder that has a.pt, b.pth; expected"):
        weights_file(tmp_path)
    (tmp_path / "a.pt").unlink()
    assert weights_file(tmp_path) == tmp_path / "b.pth"
