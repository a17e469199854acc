"""The report of seven members: every figure follows from the stored hits, and the page asks nobody for anything."""

import csv
import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pipeline.artefacts import storage
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.result import Result
from pipeline.stages.check import check
from pipeline.stages.ensemble import ensemble
from pipeline.stages.prepare import prepare
from pipeline.stages.report import report
from pipeline.study import CheckConfig, EvaluateConfig, PrepareConfig, Study, TrainConfig, table3

MEMBERS = 7


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def study(root: Path, data: PrepareConfig, run_config: TrainConfig) -> Study:
    """Members that were never trained: their probabilities are drawn, better with more crops, and one image has none."""
    prepare(data, root, processes=1)
    split = Dataset(data, root).split("val")
    rng, members = np.random.default_rng(0), []
    for seed in range(MEMBERS):
        run = run_config.but(data_seed=seed)
        rows = [
            {
                "step": step,
                "epoch": step / 3,
                **{f"val_top{top}_error_{w}": 0.9 - step / 20 for top in (1, 5) for w in ("averaged", "raw")},
            }
            for step in (3, 6, 9, 12)
        ]
        storage.write_atomic(root / run.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
        facts: dict[str, object] = {"steps": 12, "seconds": 3.0, "world_size": 1, "core_or_gpu_hours": 0.1, "num_parameters": 9}
        storage.seal(run, root, [root / run.folder / "metrics.jsonl"], facts)
        members.append(EvaluateConfig(data=data, classifier=run))
        scores = {}
        for policy, noise in (("crops_1", 1.0), ("crops_10", 0.7), ("crops_144", 0.5)):
            drawn = np.eye(3)[split.labels] * 0.5 + rng.random((len(split), 3)) * noise
            drawn[4] = np.nan
            scores[policy] = (drawn / drawn.sum(axis=1, keepdims=True)).astype(np.float32)
        predictions = Predictions(members[-1], root)
        predictions.publish_chunk(range(len(split)), scores, {4: "not an image"}, 1.0, "drawn")
        facts = {"num_images": len(split), "world_size": 1, "device": "cpu", "num_rejected": 0}
        predictions.merge([range(len(split))], split.image_ids, split.labels, facts)
    made = Study(name="seven", title="Seven <members>", check=CheckConfig(results=table3(tuple(members))))
    for cell in made.check.results:
        ensemble(cell, root)
    check(made.check, root)
    report(made.report, root)
    return made


def table(root: Path, study: Study, name: str) -> list[dict[str, str]]:
    with (root / study.report.folder / f"tables/{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_subsets_are_what_averages_of_members_give(root: Path, study: Study) -> None:
    cell = study.check.results[-1]
    labels = Dataset(cell.members[0].data, root).split("val").labels
    each = [Predictions(member, root).probabilities(cell.policy) for member in cell.members]
    found = Result(cell, root).facts["subsets"]
    assert len(found) == 2**MEMBERS - 1
    by_members = {tuple(subset["members"]): subset["top1_error"] for subset in found}
    for size in (1, 2, 5, 7):
        for subset in list(combinations(range(MEMBERS), size))[:9]:
            mean = np.mean([each[k] for k in subset], axis=0)
            wrong = np.where(np.isnan(mean).any(axis=1), True, mean.argmax(axis=1) != labels)
            assert by_members[subset] == pytest.approx(wrong.mean())
    sizes = [row for row in table(root, study, "ensemble_sizes") if row["crops"] == "144"]
    assert [int(row["ensembles"]) for row in sizes] == [7, 21, 35, 35, 21, 7, 1]
    assert float(sizes[-1]["error"]) == pytest.approx(100 * Result(cell, root).facts["top1_error"])
    assert all(float(row["low"]) - 1e-9 <= float(row["error"]) <= float(row["high"]) + 1e-9 for row in sizes)


def test_table3_compares_with_its_base(root: Path, study: Study) -> None:
    rows = table(root, study, "table3")
    assert [(row["models"], row["crops"]) for row in rows] == [(m, c) for m in ("1", "7") for c in ("1", "10", "144")]
    errors = [Result(cell, root).errors(1) for cell in study.check.results]
    for row, wrong in zip(rows, errors, strict=True):
        assert float(row["difference"]) == pytest.approx(wrong.mean() - errors[0].mean())
        assert 0 < float(row["p_value"]) <= 1
    assert float(rows[0]["p_value"]) == 1
    assert float(rows[0]["published"]) == 0.1007


def test_mistakes_are_mistakes(root: Path, study: Study) -> None:
    """The surest first; the unreadable image is an error, but nothing was guessed."""
    result = Result(study.check.results[0], root)
    assert 0 < len(result.mistakes) == int(result.errors(1).sum()) - 1
    leads = []
    for mistake in result.mistakes:
        assert mistake["guesses"][0]["label"] != mistake["label"]
        assert sum(guess["probability"] for guess in mistake["guesses"]) == pytest.approx(1, abs=1e-3)
        mine = next(guess["probability"] for guess in mistake["guesses"] if guess["label"] == mistake["label"])
        leads.append(mistake["guesses"][0]["probability"] - mine)
    assert leads == sorted(leads, reverse=True)
    shown = Result(study.check.results[-1], root)
    classes = table(root, study, "classes")
    assert sum(int(row["images"]) for row in classes) == 15
    wrong = sum(float(row["top1_error"]) * int(row["images"]) for row in classes)
    assert wrong == pytest.approx(shown.errors(1).sum())
    path = root / study.report.folder / "tables/confusions.csv"
    confused = table(root, study, "confusions") if path.exists() else []
    assert sum(int(row["images"]) for row in confused) == shown.errors(1).sum() - 1


def test_the_page_is_alone_and_says_what_it_shows(root: Path, study: Study) -> None:
    page = (root / study.report.folder / "report.html").read_text()
    assert not re.search(r"(src|href|xlink:href)=[\"'](?!data:|#)", page)
    assert "<script" not in page
    assert "@import" not in page
    assert "Seven &lt;members&gt;" in page
    assert page.count("<svg") == 3
    mistakes = Result(study.check.results[-1], root).mistakes
    assert page.count("data:image/jpeg;base64,") == len(mistakes)
    sealed = json.loads((root / study.report.folder / "report.json").read_text())
    assert {"charts/errors_by_size.png", "charts/training_curves.svg", "tables/verdicts.csv", "tables.json"} <= set(
        sealed["files"]
    )
    assert (root / study.report.folder / "charts/errors_by_size.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((root / study.report.folder / "tables.json").read_text()).keys() >= {"table3", "classes", "verdicts"}
