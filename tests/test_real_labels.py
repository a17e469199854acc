"""ImageNet-ReaL's labels beside the original ones, and ImageNet-V2's folders."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import InputError
from pipeline.sources.recognition import _timm_file, synsets
from pipeline.statistics.label_ranks import rank_of_best_label, rank_of_label
from pipeline.tools.real_labels import read_real_labels
from tests.commands import in_process

WNIDS = synsets()
# the class that the brightness says, then its neighbours, the later one first
NETWORK = """
import torch

def network(num_classes):
    def classify(images):
        value = (images.mean(dim=(1, 2, 3)) / 20).round()[:, None]
        place = torch.arange(num_classes)
        return 0.01 * place - (place - value).abs()
    return classify
"""


def write_real(path: Path, labels: dict[int, list[int]]) -> Path:
    path.write_text(json.dumps([labels.get(number, []) for number in range(1, 50_001)]))
    return path


def images(top: Path, named: dict[str, int]) -> Path:
    for name, value in named.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (20 * value,) * 3).save(top / name)
    return top


@given(st.data(), st.integers(2, 8))
def test_one_right_label_is_the_usual_rank(data: st.DataObject, num_classes: int) -> None:
    row = st.lists(
        st.sampled_from([0, 0.1, 0.3, np.nan]), min_size=num_classes, max_size=num_classes
    )
    scores = np.array(data.draw(st.lists(row, min_size=1, max_size=4)), np.float32)
    scores[np.isnan(scores).any(axis=1)] = np.nan  # an image has all scores, or none
    labels = np.array([data.draw(st.integers(0, num_classes - 1)) for _ in scores])
    one = rank_of_best_label(scores, [[label] for label in labels])
    assert one.tolist() == rank_of_label(scores, labels).tolist()
    more = [[label, data.draw(st.integers(0, num_classes - 1))] for label in labels]
    assert (rank_of_best_label(scores, more) <= one).all()


def test_any_of_several_right_labels_counts() -> None:
    scores = np.array([[0.4, 0.3, 0.2, 0.1]] * 4)
    right = [[3, 1], [0, 3], [3, 2, 1], [2, 2]]
    assert rank_of_best_label(scores, right).tolist() == [1, 0, 1, 2]
    ties = np.array([[0.4, 0.4, 0.2]] * 2)
    assert rank_of_best_label(ties, [[0], [0, 1]]).tolist() == [1, 0], (
        "a tie of right ones is right"
    )


def evaluate(
    top: Path, real: Path | None, tmp_path: Path, *more: object
) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "mine.py"
    file.write_text(NETWORK)
    return in_process(
        "evaluate", "--arch", f"{file}:network", "--data", top, "--input-size", 42, "--mean",
        "0,0,0", "--std", "1,1,1", "--policies", "crops_1", "--root", tmp_path / "root",
        "--processes", 1, *(("--real-labels", real) if real else ()), *more,
    )  # fmt: skip


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    path = tmp_path / "LOC_synset_mapping.txt"
    path.write_text("".join(f"{wnid} words\n" for wnid in WNIDS))
    return path


def test_real_labels_stand_beside_the_original(tmp_path: Path, classes: Path) -> None:
    """The outputs rank class 3, then 4, 2, 5, 1, 6 for an image of class 3."""
    named = {f"{WNIDS[3]}/ILSVRC2012_val_{n:08d}.JPEG": 3 for n in (7, 9, 40_000)}
    named[f"{WNIDS[8]}/ILSVRC2012_val_00000011.JPEG"] = 3  # its label is wrong
    top = images(tmp_path / "val", named)
    real = write_real(tmp_path / "real.json", {7: [4, 999], 9: [2, 5], 11: [3], 12: [5]})
    ended = evaluate(top, real, tmp_path, "--classes", classes)
    assert ended.returncode == 0, ended.stderr
    assert (
        "by real.json, on the 3 of 4 images that have labels there (in brackets by" in ended.stdout
    )
    assert "crops_1  top-1 66.67 % (33.33 %)  top-5 0.00 % (33.33 %)" in ended.stdout


def test_other_images_or_classes_are_refused_before_any_work(tmp_path: Path, classes: Path) -> None:
    real = write_real(tmp_path / "real.json", {7: [4]})
    other = images(tmp_path / "other", {f"{WNIDS[3]}/cat.JPEG": 3, f"{WNIDS[4]}/dog.JPEG": 4})
    ended = evaluate(other, real, tmp_path, "--classes", classes)
    assert ended.returncode == 2
    assert "are those of ILSVRC2012_val_00000001 to 00050000; the data has other" in ended.stderr
    few = images(
        tmp_path / "few",
        {f"{WNIDS[k]}/ILSVRC2012_val_0000000{k}.JPEG": k for k in (1, 2)},
    )
    ended = evaluate(few, real, tmp_path)
    assert ended.returncode == 2
    assert "has other classes or another order; give --classes" in ended.stderr
    assert not (tmp_path / "root/predictions").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[1], [2]]", "is a list of 2; expected ImageNet-ReaL's real.json"),
        ("{}", "is no list; expected"),
        ("[", "cannot be read as JSON"),
        (json.dumps([[1000]] * 50_000), r"has \[1000\] for image 1; expected"),
        (json.dumps([[1]] * 49_999 + [3]), "has 3 for image 50000; expected"),
    ],
)
def test_another_file_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_real_labels(tmp_path / "real.json")
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        read_real_labels(tmp_path / "none.json")


def test_the_published_file_is_read(tmp_path: Path) -> None:
    """As timm carries it: 46,837 images have labels."""
    (tmp_path / "real.json").write_text(_timm_file("imagenet_real_labels.json"))
    labels = read_real_labels(tmp_path / "real.json")
    assert sum(map(bool, labels)) == 46_837


@pytest.mark.parametrize("with_classes", [False, True])
def test_imagenet_v2_is_another_validation_set(with_classes: bool, tmp_path: Path) -> None:
    """Its folders are places among the outputs: 10 is not the second."""
    top = images(tmp_path / "v2", {f"{k}/0.jpeg": k for k in range(12)})
    (tmp_path / "names.txt").write_text("\n".join(WNIDS[:12]))
    more = ("--classes", tmp_path / "names.txt") if with_classes else ()
    ended = evaluate(top, None, tmp_path, *more)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^     1 1 +0\.00 %", ended.stdout, re.MULTILINE), ended.stdout
    said = "the folders are numbers: places in the 12 classes, from 0 on"
    assert (said in ended.stderr) is with_classes
    manifest = json.loads(next(tmp_path.glob("root/datasets/*/manifest.json")).read_text())
    named = WNIDS[:12] if with_classes else [str(k) for k in range(12)]
    assert manifest["classes"] == named
