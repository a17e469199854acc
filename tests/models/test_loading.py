"""Weights that were trained elsewhere: the right network, the right preprocessing, and
the first mismatch by name.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from pipeline.configs.evaluate import ForeignConfig
from pipeline.configs.network import NetworkConfig, WeightsNote
from pipeline.errors import InputError
from pipeline.models.loading import foreign_classifier
from pipeline.paper.googlenet import GoogLeNet, normalise
from pipeline.paper.preprocessing import PREPROCESSING
from pipeline.tools.external import foreign_study
from tests.commands import TOP


def config(path: Path, arch: str, input_size: int = 64) -> ForeignConfig:
    mean, std, _ = PREPROCESSING
    return ForeignConfig(
        arch=arch, weights=path, sha256="0" * 64, mean=mean, std=std, input_size=input_size
    )


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("arch", ["torchvision:squeezenet1_1", "timm:resnet10t", "googlenet"])
def test_weights_come_back(tmp_path: Path, arch: str, suffix: str) -> None:
    """The classifier computes what the network that the file was saved from
    computes.
    """
    family, _, name = arch.partition(":")
    if family == "torchvision":
        from torchvision import models

        network: torch.nn.Module = models.get_model(name, num_classes=7)
    elif family == "timm":
        network = timm.create_model(name, num_classes=7)
    else:
        network = GoogLeNet(num_classes=7, input_size=64, aux_heads=())
    path = tmp_path / f"weights.{suffix}"
    state = network.state_dict()
    if suffix == "pth":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        save_file(state, path)
    pixels = torch.randint(
        0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    loaded = foreign_classifier(config(path, arch), 7)
    loaded.network.eval()
    with torch.no_grad():
        x = normalise(pixels, loaded.preprocessing)
        torch.testing.assert_close(loaded.network(x), network.eval()(x), rtol=1e-4, atol=1e-5)


def test_wrong_files_are_named(tmp_path: Path) -> None:
    state = GoogLeNet(num_classes=7, input_size=64, aux_heads=()).state_dict()
    path = tmp_path / "w.safetensors"

    def message(**changes: torch.Tensor | None) -> str:
        changed = {name.replace("__", "."): tensor for name, tensor in changes.items()}
        save_file(
            {name: tensor for name, tensor in (state | changed).items() if tensor is not None}, path
        )
        with pytest.raises(InputError) as raised:
            foreign_classifier(config(path, "googlenet"), 7)
        return str(raised.value)

    assert message(conv1__conv__weight=None).endswith(
        "has no tensor conv1.conv.weight; the network expects one of shape (64, 3, 7, 7)"
    )
    assert message(classifier__bias=torch.zeros(9)).endswith(
        "classifier.bias has shape (9,); the network expects (7,) (are the weights of another"
        " number of classes than --data has?)"
    )
    assert message(extra=torch.zeros(1)).endswith(
        "has a tensor extra, which the network does not know"
    )
    for name, content, expected in (
        ("a.safetensors", b"nonsense", "is not a safetensors file"),
        ("a.pth", b"nonsense", "cannot be read as a PyTorch state dict"),
        ("missing.pth", None, "no such weights file"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=expected):
            foreign_classifier(config(tmp_path / name, "googlenet"), 7)
    save_file(state, path)
    for arch in ("torchvision:nothing", "timm:nothing", "timm:resnet18.nothing"):
        with pytest.raises(InputError, match=f"{arch}: no such"):
            foreign_classifier(config(path, arch), 7)


def test_a_pickle_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"weight": Evil()}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"holds an object of builtins\.getattr, which is not"):
        foreign_classifier(config(tmp_path / "w.pth", "googlenet"), 7)
    assert not (tmp_path / "ran").exists()


def test_channel_order_takes_its_mean_along(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    study = foreign_study("googlenet", path, tmp_path, channel_order="bgr")
    foreign = study.check.results[0].members[0].classifier
    assert isinstance(foreign, ForeignConfig)
    assert foreign.mean == PREPROCESSING.mean[::-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a\nb\na\n", "class a twice"),
        (b"", "names 0 classes"),
        (b"\xff\xfe", "cannot be read as text"),
    ],
)
def test_wrong_lists_of_classes_are_named(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "classes.txt").write_bytes(text)
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=message):
        foreign_study(
            "googlenet", tmp_path / "w.safetensors", tmp_path, classes=tmp_path / "classes.txt"
        )
    with pytest.raises(InputError, match=r"std\.0 = 0\.0: Input should be greater than 0"):
        foreign_study("googlenet", tmp_path / "w.safetensors", tmp_path, std=(0.0, 1.0, 1.0))
    with pytest.raises(InputError, match="arch = 'lenet': expected googlenet"):
        foreign_study("lenet", tmp_path / "w.safetensors", tmp_path)


@pytest.mark.processes
def test_importing_the_package_alone_does_nothing() -> None:
    code = (
        "import sys, pipeline; print(sorted({'torch', 'timm', 'numpy', 'click'} &"
        " set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=TOP
        ).stdout
        == "[]\n"
    )


def test_torch_hub() -> None:
    top = Path(__file__).parents[2]
    network = torch.hub.load(str(top), "googlenet", source="local", num_classes=5, width=0.25)
    assert network.classifier.out_features == 5


@pytest.mark.parametrize("are_best", [False, True])
def test_a_file_of_ours_tells_its_network(tmp_path: Path, are_best: bool) -> None:
    """The command takes the note, and a config must say the same."""
    shape = NetworkConfig(norm="batch", width=0.25, input_size=56, aux_heads=())
    network = GoogLeNet(num_classes=7, **shape.model_dump())
    path = tmp_path / "w.safetensors"
    save_file(network.state_dict(), path, WeightsNote(network=shape, are_best=are_best).metadata)
    foreign = foreign_study("googlenet", path, tmp_path).check.results[0].members[0].classifier
    assert isinstance(foreign, ForeignConfig)
    assert (foreign.network, foreign.are_best, foreign.input_size) == (shape, are_best, 56)
    assert foreign_classifier(foreign, 7).input_size == 56
    for changes in ({"network": None}, {"are_best": not are_best}):
        with pytest.raises(InputError, match=r"notes a network with .*norm=batch"):
            foreign_classifier(foreign.but(**changes), 7)
