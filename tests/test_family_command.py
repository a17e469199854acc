"""`evaluate` with the family's policies, and without the images of a list."""

import subprocess
from pathlib import Path

import pytest
from PIL import Image

from tests.blacklisted import write_blacklist
from tests.commands import in_process

# right where an image is dark and its class is the first
NETWORK = """
import torch

def network(num_classes):
    def classify(images):
        value = images.mean(dim=(1, 2, 3))
        return torch.stack([10 - value, value], 1)
    return classify

def fixed(num_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 42 * 42, num_classes))
"""


def evaluate(tmp_path: Path, function: str, *more: object) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "mine.py"
    file.write_text(NETWORK)
    return in_process(
        "evaluate", "--arch", f"{file}:{function}", "--data", tmp_path / "val", "--input-size", 42,
        "--mean", "0,0,0", "--std", "1,1,1", "--root", tmp_path / "root", "--processes", 1, *more,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def images(tmp_path: Path) -> None:
    """Four images of two classes; the network errs on the last of each."""
    for place, value in (("a/7", 0), ("a/8", 200), ("b/9", 200), ("b/10", 0)):
        label, number = place.split("/")
        path = tmp_path / f"val/{label}/ILSVRC2012_val_{int(number):08d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 50), (value,) * 3).save(path)


def test_both_figures_are_said(tmp_path: Path) -> None:
    listed = write_blacklist(tmp_path / "list.txt", [8, 9, *range(100, 1860)])
    policies = ("--policies", "crops_1,v3_12,resnet_dense", "--blacklist", listed)
    ended = evaluate(tmp_path, "network", *policies)
    assert ended.returncode == 0, ended.stderr
    for crops in ("1 crop", "12 crops (v3)", "dense (ResNet)"):
        assert (
            f"{crops}: top-1 50.00 %, top-5 0.00 % on the 2 images that are not on the blacklist"
            " (on all 4: 50.00 %, 0.00 %)"
        ) in ended.stdout
    report = next(tmp_path.glob("root/reports/*/report.html")).read_text()
    assert "Each network by itself, by policy" in report


def test_other_images_are_refused_before_any_work(tmp_path: Path) -> None:
    listed = write_blacklist(tmp_path / "list.txt", range(1, 1763))
    Image.new("RGB", (60, 50)).save(tmp_path / "val/b/cat.png")
    ended = evaluate(tmp_path, "network", "--blacklist", listed)
    assert ended.returncode == 2
    assert "and so on; the data has others, such as b/cat.png" in ended.stderr
    assert not (tmp_path / "root").exists()


def test_a_fixed_head_is_refused(tmp_path: Path) -> None:
    ended = evaluate(tmp_path, "fixed", "--policies", "crops_1,resnet_dense")
    assert ended.returncode == 2
    assert "policy resnet_dense needs a network that takes images of any size" in ended.stderr
