"""`evaluate` takes several networks, each at its own size, and reports ensembles."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.commands.values import Model
from pipeline.errors import InputError
from pipeline.models.cost import cost_of
from pipeline.models.making import as_network
from pipeline.paper.googlenet import GoogLeNet
from pipeline.tools.external import foreign_study
from tests.commands import in_process

MINE = """
import torch
def flat(num_classes):
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, num_classes))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models, of three kinds")
    torch.manual_seed(1)
    resnet = timm.create_model("test_resnet", num_classes=3)
    save_file(resnet.state_dict(), folder / "resnet.safetensors")
    (folder / "mine.py").write_text(MINE)
    return [
        f"arch=timm:test_resnet,weights={folder / 'resnet.safetensors'},input_size=64",
        f"arch={folder / 'mine.py'}:flat,input_size=48,mean=127/127/127,std=64/64/64",
    ]


def test_an_ensemble_is_the_mean_of_its_members(
    models: list[str], image_folder: Path, tmp_path: Path
) -> None:
    words = [word for model in models for word in ("--model", model)]
    run = in_process(
        *("evaluate", *words, "--data", image_folder, "--policies", "crops_1,crops_10"),
        *("--root", tmp_path, "--processes", 1),
    )
    assert run.returncode == 0, run.stderr
    assert "15 validation images, 3 classes, 48 to 64 px" in run.stdout
    lines = [" ".join(line.split()) for line in run.stdout.splitlines()]
    assert any(re.match(r"1 timm:test_resnet 64 px \d+ k [\d.]+ M ", line) for line in lines)
    assert any(line.startswith("2 python:flat 48 px 12 9 ") for line in lines)
    (folder,) = (tmp_path / "reports").iterdir()
    rows = list(csv.DictReader((folder / "tables/subsets.csv").read_text().splitlines()))
    assert [row["members"] for row in rows] == ["1", "2", "1+2"]
    given = [Model().convert(model, None, None) for model in models]
    policies = ("crops_1", "crops_10")
    study = foreign_study(None, None, image_folder, policies=policies, models=given)
    members = study.check.results[0].members
    labels = Dataset(members[0].data, tmp_path).split("val").labels
    scores = [Predictions(member, tmp_path).probabilities("crops_10") for member in members]
    wrong = np.mean(scores, axis=0).argmax(axis=1) != labels
    assert float(rows[2]["top1_error"]) == pytest.approx(wrong.mean())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arch", "a", "--arch", "b"], "--arch is given 2 times"),
        (
            ["--model", "arch=timm:x,wieghts=y"],
            "'arch=timm:x,wieghts=y' is no KEY=VALUE",
        ),
        (["--model", "timm:x"], "'timm:x' is no KEY=VALUE of a network; expected arch, weights"),
        (["--model", "arch=a,arch=b"], "'arch=b' is no KEY=VALUE of a network"),
        (["--model", "arch=a,input_size=12"], "12 is not in the range"),
        (["--model", "arch=a", "--arch", "b"], "--arch: is of a single network; go without it"),
    ],
)
def test_what_is_not_clear_is_refused(
    arguments: list[str], message: str, image_folder: Path
) -> None:
    run = in_process("evaluate", *arguments, "--data", image_folder)
    assert (run.returncode, run.stdout) == (2, "")
    assert message in run.stderr


def test_other_numbers_of_outputs_and_the_same_twice_are_refused(
    image_folder: Path, tmp_path: Path
) -> None:
    for classes in (3, 4):
        network = timm.create_model("test_resnet", num_classes=classes)
        save_file(network.state_dict(), tmp_path / f"{classes}.safetensors")
    models = [
        {"arch": "timm:test_resnet", "weights": tmp_path / f"{classes}.safetensors"}
        for classes in (3, 4)
    ]
    with pytest.raises(InputError, match="--model: numbers of outputs differ"):
        foreign_study(None, None, image_folder, models=models)
    with pytest.raises(InputError, match="--model: names one classifier twice"):
        foreign_study(None, None, image_folder, models=models[:1] * 2)


def test_costs_are_those_of_table_1() -> None:
    """Its 1.5 G are with a dense first convolution 1.58 G."""
    network = GoogLeNet(aux_heads=())
    assert cost_of(network, 224) == (6_998_552, 1_582_671_872)
    assert next(network.parameters()).device.type == "cpu"
    assert cost_of(as_network(lambda x: x.numpy().mean(axis=(2, 3))), 224) == (0, None)
