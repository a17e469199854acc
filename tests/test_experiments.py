"""The studies in experiments/: each loads, and they share every artefact that they
can.
"""

from pathlib import Path

import pytest

from pipeline.configs.experiment import load_study
from pipeline.configs.study import Study
from pipeline.errors import InputError
from pipeline.tools.places import sharing
from tests.commands import TOP

EXPERIMENTS = sorted((TOP / "experiments").glob("*.py"))
ABLATIONS = ("aux_heads", "pooling_head", "augmentation", "normalisation", "init", "averaging")


def load(name: str, data: Path, *options: str) -> Study:
    return load_study(TOP / "experiments" / f"{name}.py", ["--data", str(data), *options])


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_a_study_says_how_it_is_run(path: Path, tmp_path: Path) -> None:
    arguments = [] if path.stem in ("demo", "family") else ["--data", str(tmp_path)]
    if path.stem == "inception_family":
        (tmp_path / "inception_v3.tf_in1k.safetensors").touch()
        arguments += ["--weights-folder", str(tmp_path)]
    study = load_study(path, arguments)
    assert study.stages[-1].stage == "report"
    text = path.read_text()
    assert f"going-deeper run {path.stem}" in text
    assert all(heading in text for heading in ("Run:", "Expect:", "Cost:", "Differs:"))


def test_ablations_share_their_baseline(tmp_path: Path) -> None:
    """Six ablations and the seven members of Table 3 share one data set and one
    baseline.
    """
    studies = [load(name, tmp_path) for name in ABLATIONS]
    studies.append(load("caltech101", tmp_path, "--members", "7"))
    studies += [load("crop_counts", tmp_path), load("ensemble_size", tmp_path)]
    trainings = [
        [stage.hash for stage in study.stages if stage.stage == "train"] for study in studies
    ]
    assert [len(runs) for runs in trainings] == [12, 6, 9, 9, 9, 6, 7, 3, 10]
    # of 71
    assert len({hash for runs in trainings for hash in runs}) == 7 + 9 + 3 + 6 + 6 + 6 + 3 + 3
    assert (
        len({stage.hash for study in studies for stage in study.stages if stage.stage == "prepare"})
        == 1
    )


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_share_at_any_width_and_precision(name: str, tmp_path: Path) -> None:
    options = ("--epochs", "24", "--width", "0.25", "--precision", "bf16")
    shared = load("caltech101", tmp_path, "--members", "7", "--independent", "3", *options)
    stages = {stage.hash for stage in shared.stages}
    runs = {stage.hash for stage in load(name, tmp_path, *options).stages if stage.stage == "train"}
    assert len(runs & stages) == 3  # the baseline's seeds


def test_one_study_answers_what_three_others_ask(tmp_path: Path) -> None:
    study = load("caltech101", tmp_path, "--members", "7", "--seeds", "3", "--independent", "3")
    asked = {stage.hash for stage in study.stages if stage.stage == "compare"}
    others = [load("crop_counts", tmp_path, "--seeds", "7"), load("ensemble_size", tmp_path)]
    others.append(load("aux_heads", tmp_path, "--arms", "both,none"))
    assert asked == {
        stage.hash for other in others for stage in other.stages if stage.stage == "compare"
    }
    assert sharing(study) == "13 trainings; each question by itself would take 19 in all"


def test_no_question_counts_twice(tmp_path: Path) -> None:
    """Table 3 of an arm is a by-product of its ablation."""
    assert (
        sharing(load("init", tmp_path))
        == "9 trainings; each question by itself would take 9 in all"
    )


def test_arms_are_named_and_at_least_two(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="--arms both: expected at least two, of which the first is the baseline"
    ):
        load("aux_heads", tmp_path, "--arms", "both")
    with pytest.raises(InputError, match="--arms both,,none: '' is none of both, none, 4a, 4d"):
        load("aux_heads", tmp_path, "--arms", "both,,none")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--members", "0"], "--members.: 0 is not in the range 1<=x<=1000"),
        (["--seeds", "-1"], "-1 is not in the range 0<=x<=1000"),
        (
            ["--independent", "1"],
            "1 independent members: expected at least 2, as one makes no ensemble",
        ),
    ],
)
def test_a_study_of_nothing_is_refused(tmp_path: Path, options: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_study(TOP / "experiments/caltech101.py", ["--data", str(tmp_path), *options])
