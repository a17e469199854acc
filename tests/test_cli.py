"""The command as a user runs it, in processes of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.commands import EXPERIMENT, TOP, going_deeper


def test_a_study_from_one_command_and_again(experiment: Path, image_folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    command = ("run", experiment, "--data", image_folder, "--root", root, "--processes", 2)
    first = going_deeper(*command)
    assert first.returncode == 0, first.stderr
    assert "Fewer than 25 classes: claims are judged on the top-1 error." in first.stdout
    assert "R1   not_run" in first.stdout
    (page,) = root.glob("reports/tiny-*/report.html")
    assert first.stdout.strip().endswith(f"report: {page}")
    html = page.read_text()
    assert html.count("<svg") == 3
    assert not re.search(r'src="(?!data:image/jpeg;base64,)', html)
    assert 'href="data:,"' in html

    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    started = time.monotonic()
    again = going_deeper(*command)
    assert again.returncode == 0
    assert "nothing to do: all 13 stages of tiny are complete" in again.stdout
    assert time.monotonic() - started < 10
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before

    planned = going_deeper("plan", experiment, "--members", 3, "--root", root).stdout
    assert planned.count("complete  train") == 2
    assert planned.count("missing   train") == 1

    reported = going_deeper("report", experiment, "--root", root, "--into", tmp_path / "published")
    assert reported.returncode == 0, reported.stderr
    results = (tmp_path / "published" / "RESULTS.md").read_text()
    assert "| 1 | 144 | 7.89 % |" in results
    assert "| R6a |" in results

    kept = tmp_path / "kept"
    published = going_deeper("publish", experiment, "--data", image_folder, "--root", root, "--to", kept)
    assert (published.returncode, published.stderr) == (0, "")
    assert re.fullmatch(rf"\d+ files, \d+\.\d MB, in {kept}\n", published.stdout)
    assert not [path for path in kept.rglob("*") if path.suffix in (".safetensors", ".arrow")]
    counted = going_deeper("recount", experiment, "--root", kept)
    assert (counted.returncode, counted.stderr) == (0, "")
    assert re.fullmatch(r"\d+ figures are what the hits give\n", counted.stdout)
    going_deeper("report", experiment, "--root", kept, "--into", tmp_path / "again")
    assert (tmp_path / "again" / "RESULTS.md").read_text() == results
    hits = min(kept.glob("predictions/*/hits.parquet"))
    hits.write_bytes(hits.read_bytes()[:-1])
    counted = going_deeper("recount", experiment, "--root", kept)
    assert (counted.returncode, counted.stderr) == (3, f"going-deeper: {hits}: is not the file that was sealed\n")


def test_killed_and_run_again_it_finishes_with_the_same_results(experiment: Path, image_folder: Path, tmp_path: Path) -> None:
    """SIGKILL to the command while it trains; the same command then goes on. On a site, the same jobs, the same bytes."""
    killed, site = tmp_path / "killed", tmp_path / "site"
    command = ("run", experiment, "--data", image_folder, "--members", 1, "--root", killed, "--processes", 2)
    process = subprocess.Popen([sys.executable, "-m", "pipeline", *map(str, command)], cwd=TOP, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(killed.glob("runs/*/checkpoints/step_*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(killed.glob("runs/*/run.json"))
    deadline = time.monotonic() + 60
    while (resumed := going_deeper(*command)).returncode == 2 and time.monotonic() < deadline:
        assert "is being made already by process" in resumed.stderr  # the killed command's ranks are still ending
    assert resumed.returncode == 0, resumed.stderr

    site_file = tmp_path / "site.toml"
    site_file.write_text('cluster = "local"\n[train]\ntasks_per_node = 2\n[evaluate]\ntasks_per_node = 2\n')
    on_site = going_deeper("run", experiment, "--data", image_folder, "--members", 1, "--root", site, "--site", site_file)
    assert on_site.returncode == 0, on_site.stderr
    for pattern in ("runs/*/final/*.safetensors", "predictions/*/*.safetensors", "results/*/hits.parquet"):
        found = [{path.relative_to(root): path.read_bytes() for path in root.glob(pattern)} for root in (killed, site)]
        assert found[0] == found[1] != {}


def test_a_failed_stage_is_exit_code_3(experiment: Path, image_folder: Path, tmp_path: Path) -> None:
    experiment.write_text(EXPERIMENT.replace("num_epochs=epochs", "num_epochs=epochs, learning_rate=1e9"))
    arguments = ("run", experiment, "--data", image_folder, "--members", 1, "--root")
    failed = going_deeper(*arguments, tmp_path / "here", "--processes", 1)
    assert failed.returncode == 3
    assert "lower learning_rate, or set a lower clip_norm" in failed.stderr.strip().splitlines()[-1]
    site = going_deeper(*arguments, tmp_path / "site", "--site", TOP / "slurm/sites/local.toml")
    assert site.returncode == 3
    said = site.stderr.strip().splitlines()
    assert any(re.match(r"train-\w+: failed: TrainingDiverged: .*lower learning_rate", line) for line in said)
    assert re.match(
        r"going-deeper: tiny: no verdict, as these are missing: train \w+, evaluate \w+; 0 of its results", said[-1]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.py"], "nowhere.py: no such Python file"),
        (["run", "experiments/demo.py", "--mebers", "3"], "No such option"),
        (["run", "experiments/caltech101.py"], "data set caltech101: no path given; pass --data FOLDER"),
        (["run", "experiments/caltech101.py", "--data", "nowhere"], "nowhere: no such folder"),
        (["run", "experiments/demo.py", "--site", "nowhere.toml"], "nowhere.toml: no such site file"),
        (["run", "experiments/demo.py", "--processes", "0"], "0 is not in the range x>=1; see going-deeper run --help"),
        (["run", "experiments/demo.py", "--site", "slurm/sites"], "slurm/sites: no such site file"),
        (["run", "experiments/demo.py", "--processes", "7"], "64 can be shared equally by 1, 2, 4 ranks"),
        (["plan", "experiments/demo.py", "--root", "README.md"], "README.md: is a file; --root takes a folder"),
        (["evaluate", "--arch", "googlenet", "--weights", "none.pth", "--data", "x"], "none.pth: no such weights file"),
        (["evaluate", "--arch", "googlenet", "--weights", "README.md", "--data", "x"], "cannot be read as a PyTorch state"),
        (["evaluate", "--arch", "googlenet", "--weights", "a", "--data", "x", "--mean", "1,2"], "is not three numbers"),
        (["export", "experiments/demo.py", "--into", "x"], "run.json: does not exist; run the train stage first"),
        (["rnu"], "No such command 'rnu'"),
        (["report", "experiments/demo.py"], "nothing of demo is there; run the study first"),
        (["report", "experiments/demo.py", "--into", "x"], "check.json: does not exist; run the check stage first"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments: list[str], message: str, tmp_path: Path) -> None:
    root = ["--root", str(tmp_path / "root")] if len(arguments) > 1 and "--root" not in arguments else []
    failed = going_deeper(*arguments, *root)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert failed.stderr.count("\n") == 1 + failed.stderr.count("[1/")
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    "arguments", [[], ["run"], ["plan"], ["report"], ["evaluate"], ["export"], ["audit"], ["sync"], ["dashboard"]], ids=str
)
def test_help_has_an_example(arguments: list[str]) -> None:
    shown = going_deeper(*arguments, "--help")
    assert shown.returncode == 0
    assert "Example: going-deeper" in shown.stdout


def test_any_classifier_from_one_command(image_folder: Path, tmp_path: Path) -> None:
    """Random SqueezeNet weights on three colours: the whole protocol, and a report."""
    from safetensors.torch import save_file
    from torchvision import models

    save_file(models.squeezenet1_1(num_classes=3).state_dict(), tmp_path / "w.safetensors")
    arguments = ("evaluate", "--arch", "torchvision:squeezenet1_1", "--weights", tmp_path / "w.safetensors")
    found = going_deeper(*arguments, "--data", image_folder, "--input-size", 64, "--root", tmp_path / "root", "--processes", 2)
    assert found.returncode == 0, found.stderr
    assert "torchvision:squeezenet1_1 (w.safetensors) on " in found.stdout
    rows = [line.split() for line in found.stdout.splitlines() if line.startswith("     1 ")]
    assert [row[1] for row in rows] == ["1", "2", "10", "36", "72", "108", "144"]
    html = next(tmp_path.glob("root/reports/*/report.html")).read_text()
    assert html.count("<svg") == 1
    assert "928 input channels" in html


USERS_NETWORK = """
import torch

def network(num_classes):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, num_classes))

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


@pytest.mark.slow
def test_a_users_own_network(image_folder: Path, tmp_path: Path) -> None:
    """Any module or function from images to logits; its file is part of the artefact's name; other policies by name."""
    file = tmp_path / "mine.py"
    file.write_text(USERS_NETWORK)
    common = ("--data", image_folder, "--input-size", 42, "--root", tmp_path / "root", "--processes", 1)

    def evaluate(function: str, *more: object) -> subprocess.CompletedProcess[str]:
        return going_deeper("evaluate", "--arch", f"{file}:{function}", *common, *more)

    policies = "crops_144,crops_144_max,crops_144_geometric,vgg_150"
    found = evaluate(
        "function", "--policies", policies, "--resize", "torch_cubic", "--long-side", "ceil", "--precision", "bf16"
    )
    assert found.returncode == 0, found.stderr
    for label in ("144", "144 (max)", "144 (geometric)", "150 (VGG)"):
        assert re.search(rf"^     1 {re.escape(label)} +0.00 %", found.stdout, re.MULTILINE), found.stdout  # colours are easy
    assert evaluate("network", "--policies", "crops_1", "--compile").returncode == 0
    folders = sorted(tmp_path.glob("root/predictions/*/predictions.json"))
    assert len(folders) == 2
    file.write_text(USERS_NETWORK + "# changed")
    assert evaluate("network", "--policies", "crops_1").returncode == 0
    assert len(sorted(tmp_path.glob("root/predictions/*/predictions.json"))) == 3

    for function, message in (
        ("wrong_count", "gives shape (12, 2); expected (12, 3) for 12 images, 3 classes"),
        ("one_row", "gives shape (3,); expected (12, 3) for 12 images, 3 classes"),
        ("a_tuple", "gives tuple; expected (12, 3) for 12 images, 3 classes"),
        ("fails_later", "fails on a batch of 12 images: ValueError: never again"),
        ("fails", f"{file}: line 15: KeyError: 'weights'"),
        ("nothing", "nothing(num_classes) returned NoneType; expected a module or a function, images -> logits"),
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
        (("--arch", "nowhere.py:network"), "nowhere.py: no such Python file; expected one that defines network(num_classes)"),
        (("--arch", "python:network"), "--arch python:network: a network of your own is FILE.py:FUNCTION"),
        (
            ("--arch", "googlenet", "--policies", "crops_12"),
            "going-deeper: policies.0 = 'crops_12': no policy 'crops_12': expected one of crops_1, crops_2",
        ),
        (("--arch", "googlenet", "--resize", "bicubic"), "'bicubic' is not one of 'pil_bilinear'"),
    ],
)
def test_wrong_evaluations_are_one_line(arguments: tuple[str, ...], message: str, image_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "w.safetensors")
    weights = ("--weights", str(tmp_path / "w.safetensors")) if "--policies" in arguments else ()
    wrong = going_deeper("evaluate", *arguments, *weights, "--data", image_folder, "--root", tmp_path / "root")
    assert wrong.returncode == 2
    assert message in wrong.stderr
    assert wrong.stderr.count("\n") == 1
    assert not (tmp_path / "root").exists()


@pytest.mark.slow
def test_benchmark(tmp_path: Path) -> None:
    """Every contender runs and agrees with the naive one; the figures are on the screen and in a file."""
    found = going_deeper("benchmark", "evaluate", "--input-size", 42, "--rounds", 1, "--root", tmp_path)
    assert found.returncode == 0, found.stderr
    (path,) = tmp_path.glob("benchmarks/*/benchmark.json")
    facts = json.loads(path.read_text())
    assert str(path) in found.stdout
    assert list(facts["contenders"]) == [
        line.split("  ")[0] for line in found.stdout.splitlines() if re.match(r"(naive|careful|ours).* \(", line)
    ]
    for name, contender in facts["contenders"].items():
        assert contender["largest_difference"] < (5e-3 if "bf16" in name else 1e-6), name
        assert 0 < contender["preprocessing_share"][1] < 1
    assert facts["contenders"]["naive"]["times_naive"] == [1, 1, 1]
    found = going_deeper("benchmark", "train", "--input-size", 42, "--rounds", 1, "--root", tmp_path / "train")
    assert found.returncode == 0, found.stderr
    (path,) = tmp_path.glob("train/benchmarks/*/benchmark.json")
    facts = json.loads(path.read_text())
    assert all(contender["images_per_second"][1] > 0 for contender in facts["contenders"].values())
    times = facts["step_times_torchvision"][1]
    assert f"Our step: {times:.2f} times torchvision's as people run it" in found.stdout
    wrong = going_deeper("benchmark", "evaluate", "--data", tmp_path / "nowhere", "--root", tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "nowhere: no such folder; expected one with images" in wrong.stderr
    wrong = going_deeper("benchmark", "evaluate", "--input-size", 43)
    assert (wrong.returncode, wrong.stderr) == (2, "going-deeper: input_size = 43: Input should be a multiple of 14\n")


def test_damaged_artefact_is_named(experiment: Path, image_folder: Path, tmp_path: Path) -> None:
    command = ("run", experiment, "--data", image_folder, "--members", 1, "--root", tmp_path / "root")
    assert going_deeper(*command, "--processes", 1).returncode == 0
    (manifest,) = tmp_path.glob("root/datasets/*/manifest.json")
    manifest.write_text(manifest.read_text()[:100])
    failed = going_deeper(*command)
    assert failed.returncode == 2
    assert f"{manifest}: is damaged; remove {manifest.parent} to make it anew" in failed.stderr
    assert failed.stderr.count("\n") == 1


def test_interrupt_is_said_in_one_line(experiment: Path, image_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "run", experiment, "--data", image_folder, "--root", tmp_path / "root"]
    process = subprocess.Popen(
        [*map(str, command)],
        cwd=TOP,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("root/runs/*/checkpoints/step_*")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == "going-deeper: interrupted; the same command goes on from here"
    assert "Traceback" not in said
