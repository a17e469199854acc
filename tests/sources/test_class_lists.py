"""Lists of classes in people's forms, and what the outputs of a network say of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models

from pipeline.configs.prepare import LabelledFolderConfig
from pipeline.errors import InputError
from pipeline.models.outputs import num_outputs
from pipeline.paper.googlenet import GoogLeNet
from pipeline.sources.class_lists import read_classes
from pipeline.sources.recognition import synsets
from pipeline.tools.external import foreign_study

WNIDS = synsets()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "cat\n\n dog \n", ("cat", "dog")),
        ("a.txt", "n02 a\ncat\n", ("n02 a", "cat")),
        (
            "LOC_synset_mapping.txt",
            "n01443537 goldfish, Carassius auratus\nn01440764 tench\n",
            ("n01443537", "n01440764"),
        ),
        (
            "imagenet_class_index.json",
            '{"1": ["n01443537", "goldfish"], "0": ["n01440764", "tench"]}',
            ("n01440764", "n01443537"),
        ),
        ("a.json", '["cat", "dog"]', ("cat", "dog")),
        ("a.json", '{"dog": 1, "cat": 0}', ("cat", "dog")),
        ("a.json", '{"0": "cat", "1": "dog"}', ("cat", "dog")),
    ],
)
def test_lists_in_every_form(name: str, text: str, expected: object, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert read_classes(tmp_path / name) == (expected, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"0": "cat", "2": "dog"}', "numbers its 2 classes otherwise than 0 to 1"),
        ('{"a": [], "b": []}', "is no list of classes; expected one class a line"),
        ("3", "is no list of classes"),
        ("[1, 2]", "is no list of classes"),
        ('["cat"]', "names 1 classes; expected at least 2"),
        ('["cat", "cat"]', "names class cat twice"),
    ],
)
def test_what_is_no_list_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=f"a.json: {message}"):
        read_classes(tmp_path / "a.json")


def test_the_order_of_wnids_is_compared_with_the_usual(tmp_path: Path) -> None:
    path = tmp_path / "all.txt"
    path.write_text("\n".join(WNIDS))
    assert read_classes(path) == (tuple(WNIDS), "")
    path.write_text("\n".join(WNIDS[:5] + WNIDS[:4:-1]))
    _, remark = read_classes(path)
    assert f"(output 5 is {WNIDS[-1]}, not {WNIDS[5]}); taken as it is" in remark


@pytest.mark.parametrize(
    ("arch", "make"),
    [
        ("timm:test_resnet", lambda n: timm.create_model("test_resnet", num_classes=n)),
        ("timm:test_vit", lambda n: timm.create_model("test_vit", num_classes=n)),
        ("torchvision:squeezenet1_1", lambda n: models.squeezenet1_1(num_classes=n)),
        (
            "torchvision:googlenet",
            lambda n: models.googlenet(num_classes=n, init_weights=False, aux_logits=True),
        ),
        ("googlenet", lambda n: GoogLeNet(n, 42, 0.125)),
    ],
)
def test_weights_tell_the_number_of_outputs(
    arch: str, make: Callable[[int], torch.nn.Module]
) -> None:
    weights = make(24).state_dict()
    if arch.startswith("timm"):
        weights = {f"module.{name}": tensor for name, tensor in weights.items()}
    assert num_outputs(arch, weights, Path("w")) == 24
    assert num_outputs("python:network", weights, Path("w")) is None
    assert num_outputs(arch, {"other": torch.ones(3)}, Path("w")) is None


def images(folder: Path, classes: list[str]) -> Path:
    for name in classes:
        (folder / "val" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(folder / "val" / name / "0.png")
    return folder


def test_folders_and_outputs_must_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is prepared; ILSVRC-2012's list is known."""
    path = tmp_path / "w.safetensors"

    def classes_of(num_classes: int, folder: Path, given: Path | None = None) -> object:
        save_file(timm.create_model("test_resnet", num_classes=num_classes).state_dict(), path)
        (evaluation,) = (
            foreign_study("timm:test_resnet", path, folder, classes=given).check.results[0].members
        )
        assert isinstance(evaluation.data, LabelledFolderConfig)
        return evaluation.data.classes

    two = images(tmp_path / "two", ["cat", "dog"])
    assert classes_of(2, two) is None
    with pytest.raises(
        InputError, match="two: has 2 classes, and the network has 24 outputs: give"
    ):
        classes_of(24, two)
    some = images(tmp_path / "some", [WNIDS[7], WNIDS[900]])
    assert classes_of(1000, some) == tuple(WNIDS)
    assert (
        "its 2 classes are of ILSVRC-2012, whose list of 1000 is taken" in capsys.readouterr().err
    )
    index = tmp_path / "index.json"
    index.write_text(json.dumps(["cat", "dog", "cow"]))
    assert classes_of(3, two, index) == ("cat", "dog", "cow")
    with pytest.raises(InputError, match="names 3 classes, and the network has 4 outputs"):
        classes_of(4, two, index)
