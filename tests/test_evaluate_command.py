"""going-deeper evaluate: any classifier, from a file of weights or of code, under the
paper's protocol.
"""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from tests.commands import going_deeper, in_process


@pytest.mark.processes
def test_any_classifier_from_one_command(image_folder: Path, tmp_path: Path) -> None:
    """Random SqueezeNet weights on three colours: the whole protocol, and a report."""
    save_file(models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "w.safetensors")
    arguments = (
        "evaluate",
        "--arch",
        "torchvision:squeezenet1_1",
        "--weights",
        tmp_path / "w.safetensors",
    )
    process = in_process(
        *arguments,
        "--data",
        image_folder,
        "--input-size",
        64,
        "--root",
        tmp_path / "root",
        "--processes",
        2,
    )
    assert process.returncode == 0, process.stderr
    assert "torchvision:squeezenet1_1 (w.safetensors) on " in process.stdout
    rows = [line.split() for line in process.stdout.splitlines() if line.startswith("     1 ")]
    assert [row[1] for row in rows] == ["1", "2", "10", "36", "72", "108", "144"]
    # what is done otherwise than by the weights' makers, for people and as a fact
    sealed = json.loads(next(tmp_path.glob("root/predictions/*/predictions.json")).read_text())
    (note,) = sealed["notes"]
    assert note.startswith("torchvision:squeezenet1_1: input size 64, where torchvision's")
    assert f"{note}.\n" in process.stdout
    html = next(tmp_path.glob("root/reports/*/report.html")).read_text()
    assert html.count("<svg") == 1
    assert "928 input channels" in html


USERS_NETWORK = """
import torch

def network(num_classes):
    torch.manual_seed(0)
    mean = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return mean.append(torch.nn.Linear(3, num_classes))

def function(num_classes):
    return lambda images: 5 * images.mean(dim=(2, 3)).flip(1)

def wrong_count(num_classes):
    return lambda images: images.mean(dim=(2, 3))[:, :2]

def fails(num_classes):
    raise KeyError("weights")

def nothing(num_classes): ...

def one_row(num_classes):
    return lambda images: images.mean(dim=(0, 2, 3))

def a_tuple(num_classes):
    return lambda images: (images.mean(dim=(2, 3)),)

def fails_later(num_classes):
    def function(images):
        raise ValueError("never again")
    return function
"""


@pytest.mark.slow  # a dozen evaluations, one of them compiled
def test_a_users_own_network(image_folder: Path, tmp_path: Path) -> None:
    """Any module or function from images to logits will do. Its file is part of the
    artefact's name, and it takes other policies by name.
    """
    file = tmp_path / "mine.py"
    file.write_text(USERS_NETWORK)
    common = (
        "--data",
        image_folder,
        "--input-size",
        42,
        "--root",
        tmp_path / "root",
        "--processes",
        1,
    )

    def evaluate(function: str, *more: object) -> subprocess.CompletedProcess[str]:
        return in_process("evaluate", "--arch", f"{file}:{function}", *common, *more)

    policies = "crops_144,crops_144_max,crops_144_geometric,vgg_150"
    process = evaluate(
        "function",
        "--policies",
        policies,
        "--resize",
        "torch_cubic",
        "--long-side",
        "ceil",
        "--precision",
        "bf16",
    )
    assert process.returncode == 0, process.stderr
    for label in ("144", "144 (max)", "144 (geometric)", "150 (VGG)"):
        # colours are easy
        assert re.search(rf"^     1 {re.escape(label)} +0.00 %", process.stdout, re.MULTILINE), (
            process.stdout
        )
    assert evaluate("network", "--policies", "crops_1", "--compile").returncode == 0
    folders = sorted(tmp_path.glob("root/predictions/*/predictions.json"))
    assert len(folders) == 2
    file.write_text(USERS_NETWORK + "# changed")
    assert evaluate("network", "--policies", "crops_1").returncode == 0
    assert len(sorted(tmp_path.glob("root/predictions/*/predictions.json"))) == 3

    for function, message in (
        ("wrong_count", "gives shape (144, 2); expected (144, 3) for 144 images, 3 classes"),
        ("one_row", "gives shape (3,); expected (144, 3) for 144 images, 3 classes"),
        ("a_tuple", "gives tuple; expected (144, 3) for 144 images, 3 classes"),
        ("fails_later", "fails on a batch of 144 images: ValueError: never again"),
        ("fails", f"{file}: line 16: KeyError: 'weights'"),
        (
            "nothing",
            (
                "nothing(num_classes) returned NoneType; expected a module or a function, images ->"
                " logits"
            ),
        ),
        ("absent", f"{file}: defines no function absent; expected absent(num_classes)"),
        ("", "'' is no name of a function; expected FILE.py:FUNCTION"),
    ):
        wrong = evaluate(function)
        assert wrong.returncode == 2
        assert wrong.stderr.splitlines()[-1].endswith(message)
        assert "Traceback" not in wrong.stderr
    dense = evaluate("network", "--policies", "dense")
    assert dense.returncode == 2
    assert "policy dense needs a GoogLeNet with average pooling" in dense.stderr
    file.write_text("raise SystemExit(0)")
    left = evaluate("network")
    assert left.returncode == 2
    assert f"{file}: line 1: SystemExit: 0" in left.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--arch", "googlenet"), "--arch googlenet: needs --weights FILE"),
        (
            ("--arch", "nowhere.py:network"),
            "nowhere.py: no such Python file; expected one that defines network(num_classes)",
        ),
        (
            ("--arch", "python:network"),
            "--arch python:network: a network of your own is FILE.py:FUNCTION",
        ),
        (
            ("--arch", "googlenet", "--policies", "crops_12"),
            (
                "going-deeper: policies.0 = 'crops_12': no policy 'crops_12': expected one of"
                " crops_1, crops_2"
            ),
        ),
        (
            ("--arch", "googlenet", "--policies", "crops_1", "--mean", "0.485,0.456,0.406"),
            "mean = (0.485, 0.456, 0.406): is of pixels in 0..1; of pixels in 0..255 it is"
            " 123.675,116.28,103.53",
        ),
        (
            ("--arch", "googlenet", "--policies", "crops_1", "--std", "0.229,0.224,0.225"),
            "std = (0.229, 0.224, 0.225): is of pixels in 0..1; of pixels in 0..255 it is"
            " 58.395,57.12,57.375",
        ),
        (("--arch", "googlenet", "--resize", "bicubic"), "'bicubic' is not one of 'pil_bilinear'"),
    ],
)
def test_wrong_evaluations_are_one_line(
    arguments: tuple[str, ...], message: str, image_folder: Path, tmp_path: Path
) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    weights = ("--weights", str(tmp_path / "w.safetensors")) if "--policies" in arguments else ()
    wrong = in_process(
        "evaluate", *arguments, *weights, "--data", image_folder, "--root", tmp_path / "root"
    )
    assert wrong.returncode == 2
    assert message in wrong.stderr
    assert wrong.stderr.count("\n") == 1
    assert not (tmp_path / "root").exists()


@pytest.mark.processes
def test_guessing_is_said_loudly(image_folder: Path, tmp_path: Path) -> None:
    """It is said on the screen, in the report and as a fact. With the right order of
    classes nothing is said.
    """
    file = tmp_path / "mine.py"
    file.write_text(USERS_NETWORK)
    classes = sorted(path.name for path in (image_folder / "val").iterdir())

    def evaluate(order: list[str]) -> tuple[subprocess.CompletedProcess[str], Path, dict[str, Any]]:
        (tmp_path / "classes.txt").write_text("\n".join(order))
        root = tmp_path / order[0]
        options = ("--input-size", 42, "--policies", "crops_1,crops_2", "--processes", 1)
        done = going_deeper(
            *("evaluate", "--arch", f"{file}:function", "--data", image_folder, "--root", root),
            *("--classes", tmp_path / "classes.txt", *options),
        )
        assert done.returncode == 0, done.stderr
        result = next(root.glob("results/*/result.json"))
        return done, next(root.glob("reports/*/report.html")), json.loads(result.read_text())

    done, page, facts = evaluate(classes)
    assert "GUESSING" not in done.stderr + done.stdout + page.read_text()
    assert facts["may_be_guessing"] is False
    assert facts["chance"][0]["hits"] == 15
    done, page, facts = evaluate([*classes[1:], classes[0]])
    sentence = (
        "HARDLY BETTER THAN GUESSING: 0 of 15 right, where guessing would give 5.0; usual causes:"
    )
    for place in (done.stderr, done.stdout, page.read_text()):
        assert sentence in place
    assert done.stderr.count(sentence) == 1
    assert done.stdout.count(sentence) == 1  # for both results
    assert facts["may_be_guessing"] is True
    assert (page.parent / "RESULTS.md").read_text().count(f"**all results: {sentence}") == 1


@pytest.mark.processes
def test_the_example_works_as_printed(image_folder: Path, tmp_path: Path) -> None:
    """With the files that the help describes."""
    shown = " ".join(in_process("evaluate", "--help").stdout.split())
    words = re.findall(r"Example: going-deeper (.*?) There", shown)[0].split()
    files = {name: tmp_path / name for name in ("squeezenet.safetensors", "classes.txt")}
    save_file(models.squeezenet1_1(num_classes=3).state_dict(), files["squeezenet.safetensors"])
    files["classes.txt"].write_text("red\ngreen\nblue\n")
    files["photographs"] = image_folder / "val"
    assert files.keys() <= set(words)
    line = [files.get(word, word) for word in words]
    few = ("--policies", "crops_1", "--processes", 1, "--root", tmp_path / "root")
    ended = in_process(*line, *few)
    assert ended.returncode == 0, ended.stderr
    manifest = json.loads(next(tmp_path.glob("root/datasets/*/manifest.json")).read_text())
    assert manifest["classes"] == ["red", "green", "blue"]
