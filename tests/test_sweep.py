"""A sweep: which studies it is, that it goes on where it stopped, and its table."""

import csv
import json
from pathlib import Path

import pytest

from pipeline.configs.experiment import load_study
from pipeline.configs.points import MOST_POINTS, in_words, points
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from tests.commands import going_deeper, in_process

RATES = "train.learning_rate=0.01,0.02"


def test_points_are_the_studies_of_set() -> None:
    """So a sweep and `run --set` share their artefacts. The study itself is a point."""
    study = load_study("demo")
    usual = study.trained_member(0).learning_rate
    found = points(study, [f"train.learning_rate={usual},0.25", "train.weight_decay=0.0,0.5"])
    assert [in_words(point) for point in found] == [
        f"train.learning_rate={rate} train.weight_decay={decay}"
        for rate in (usual, 0.25)
        for decay in ("0.0", "0.5")
    ]
    for point in found:
        assert point.study == load_study("demo", [], in_words(point).split())
    (same, _) = points(study, [f"train.learning_rate={usual},0.25"])
    assert same.study == study
    assert len({config.hash for p in found for config in p.study.stages[:1]}) == 1


def test_random_points_are_of_the_grid_and_of_the_seed() -> None:
    study = load_study("demo")
    grid = [RATES, "train.weight_decay=0.1,0.2,0.3"]
    every = {in_words(point) for point in points(study, grid)}
    drawn = [[in_words(p) for p in points(study, grid, 4, seed)] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 4
    assert set(drawn[0]) | set(drawn[2]) <= every
    assert {in_words(p) for p in points(study, grid, 6, 5)} == every


MANY = ",".join(map(str, range(1, MOST_POINTS + 2)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["train.learning_rate"], "expected STAGE.FIELD=VALUE"),
        (["train.learning_rate=0.01,"], "or several values"),
        (["train.learning_rate=0.01,0.010"], "are one study"),
        ([RATES, RATES], "sets a field a second time"),
        (["train.learning_rte=0.01"], "did you mean learning_rate"),
        (["train.learning_rate=0.01,-1"], "learning_rate"),
        (["train.checkpoint_every_seconds=1,2"], "are one study"),
        ([f"train.learning_rate={MANY}"], "--random N takes N of them"),
    ],
)
def test_wrong_points_are_refused(given: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        points(load_study("demo"), given)


def test_more_random_points_than_the_grid_has_are_refused(tmp_path: Path) -> None:
    ended = in_process("sweep", "demo", "--set", RATES, "--random", "3", "--root", tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "--random 3: the grid has 2 points" in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.processes
def test_a_sweep_shares_goes_on_and_compares(
    experiment: Path, image_folder: Path, tmp_path: Path
) -> None:
    """The rate of the second point is too high: it fails, and the third is made."""
    root = tmp_path / "root"
    words = ["sweep", experiment, "--data", image_folder, "--members", 1, "--root", root]
    words += ["--epochs", 1, "--processes", 1, "--set"]
    ended = going_deeper(*words, "train.learning_rate=0.01,1e30,0.02")
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("going-deeper: 1 of 3 points failed")
    (path,) = (root / "sweeps").glob("*.json")
    rows = json.loads(path.read_text())
    assert [row["state"] for row in rows] == ["complete", "failed", "complete"]
    assert len(ended.stdout.splitlines()) == 5  # the heads, three points, the file
    assert [row["train.learning_rate"] for row in rows] == ["0.01", "1e30", "0.02"]
    with path.with_suffix(".csv").open() as file:
        assert [row["state"] for row in csv.DictReader(file)] == [row["state"] for row in rows]
    assert len(list((root / "datasets").glob(f"*/{PrepareConfig.last_file}"))) == 1
    again = going_deeper(*words, "train.learning_rate=0.01,0.02")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("nothing to do") == 2
    study = load_study(
        experiment,
        ["--data", str(image_folder), "--members", "1", "--epochs", "1"],
        ["train.learning_rate=0.02"],
    )
    assert study.is_complete(root)
