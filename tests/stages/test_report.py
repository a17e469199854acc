"""The report of seven members: every figure follows from the stored hits, and the page
asks nobody for anything.
"""

import csv
import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from pipeline.artefacts.comparison_facts import ArmRow, SealedComparison
from pipeline.artefacts.comparison_facts import Decision as ArmDecision
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.result import Result
from pipeline.artefacts.verdict import read_verdicts
from pipeline.configs.study import CheckConfig, Study
from pipeline.configs.train import TrainConfig
from pipeline.reporting.ablations import Ablation
from pipeline.reporting.findings import Sample, findings
from pipeline.reporting.rows import Cell
from pipeline.reporting.wording import _portable
from pipeline.stages.progress import report_progress
from pipeline.stages.report import report
from pipeline.tracking.page import begin

MEMBERS = 7
CELL = Cell(
    models=1,
    policy="crops_1",
    crops="1",
    published=None,
    top1_error=0.5,
    top5_error=0.3,
    top1_interval=(0.4, 0.6),
    top5_interval=(0.2, 0.4),
    difference=0.0,
    p_value=1.0,
    hash="0",
)


@pytest.fixture(scope="module")
def root(seven_root: Path) -> Path:
    return seven_root


@pytest.fixture(scope="module")
def study(seven_members: Study) -> Study:
    return seven_members


def table(root: Path, study: Study, name: str) -> list[dict[str, str]]:
    with (root / study.folder / f"tables/{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_subsets_are_what_averages_of_members_give(root: Path, study: Study) -> None:
    cell = study.check.results[-1]
    labels = Dataset(cell.members[0].data, root).split("val").labels
    each = [Predictions(member, root).probabilities(cell.policy) for member in cell.members]
    subsets = Result(cell, root).facts.subsets
    assert len(subsets) == 2**MEMBERS - 1
    by_members = {tuple(subset.members): subset.top1_error for subset in subsets}
    for size in (1, 2, 5, 7):
        for subset in list(combinations(range(MEMBERS), size))[:9]:
            mean = np.mean([each[k] for k in subset], axis=0)
            wrong = np.where(np.isnan(mean).any(axis=1), True, mean.argmax(axis=1) != labels)
            assert by_members[subset] == pytest.approx(wrong.mean())
    sizes = [row for row in table(root, study, "ensemble_sizes") if row["crops"] == "144"]
    assert [int(row["ensembles"]) for row in sizes] == [7, 21, 35, 35, 21, 7, 1]
    assert float(sizes[-1]["error"]) == pytest.approx(100 * Result(cell, root).facts.top1_error)
    assert all(
        float(row["low"]) - 1e-9 <= float(row["error"]) <= float(row["high"]) + 1e-9
        for row in sizes
    )


def test_table3_compares_with_its_base(root: Path, study: Study) -> None:
    rows = table(root, study, "table3")
    assert [(row["models"], row["crops"]) for row in rows] == [
        (m, c) for m in ("1", "7") for c in ("1", "10", "144")
    ]
    errors = [Result(cell, root).errors(1) for cell in study.check.results]
    for row, wrong in zip(rows, errors, strict=True):
        assert float(row["difference"]) == pytest.approx(wrong.mean() - errors[0].mean())
        assert 0 < float(row["p_value"]) <= 1
    assert float(rows[0]["p_value"]) == 1
    assert float(rows[0]["published"]) == 0.1007


def test_mistakes_are_mistakes(root: Path, study: Study) -> None:
    """The surest mistakes come first. The unreadable image is an error, but nothing was
    guessed.
    """
    result = Result(study.check.results[0], root)
    assert 0 < len(result.mistakes) == int(result.errors(1).sum()) - 1
    leads = []
    for mistake in result.mistakes:
        assert mistake.guesses[0].label != mistake.label
        assert sum(guess.probability for guess in mistake.guesses) == pytest.approx(1, abs=1e-3)
        mine = next(guess.probability for guess in mistake.guesses if guess.label == mistake.label)
        leads.append(mistake.guesses[0].probability - mine)
    assert leads == sorted(leads, reverse=True)
    shown = Result(study.check.results[-1], root)
    classes = table(root, study, "classes")
    assert sum(int(row["images"]) for row in classes) == 15
    wrong = sum(float(row["top1_error"]) * int(row["images"]) for row in classes)
    assert wrong == pytest.approx(shown.errors(1).sum())
    path = root / study.folder / "tables/confusions.csv"
    confused = table(root, study, "confusions") if path.exists() else []
    assert sum(int(row["images"]) for row in confused) == shown.errors(1).sum() - 1


def test_results_md_says_of_each_claim_what_the_files_say(root: Path, study: Study) -> None:
    """Published, measured, verdict, results, commit, command and cost, against
    verdicts.jsonl and the sealed files.
    """
    text = (root / study.folder / "RESULTS.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("| R")
    ]
    verdicts, _ = read_verdicts(study.check, root)
    assert [row[0] for row in rows] == 2 * [verdict.claim for verdict in verdicts]
    results = {cell.hash: Result(cell, root) for cell in study.check.results}
    for verdict, judged, rests in zip(verdicts, rows, rows[len(verdicts) :], strict=False):
        assert judged[7] == f"**{verdict.decision}**"
        assert (judged[4] == "-") == (verdict.measured is None)
        if verdict.decision == "not_run":
            assert rests[1:] == ["not run", "-", "-", "-"]
            continue
        assert verdict.measured is not None
        assert judged[4].startswith(f"{100 * verdict.measured:+.2f} points")
        used = [results[hash] for hash in re.findall(r"`(\w+)`", rests[1])]
        assert used
        assert rests[2].strip("`+") in {result.facts.provenance.commit[:12] for result in used}
        commands = re.findall(r"^\d+\. `(.*)`$", text, re.MULTILINE)
        made_by = {commands[int(number) - 1] for number in rests[4].split(", ")}
        assert made_by == {_portable(result.facts.provenance.command) for result in used}
        # each training and evaluation once
        assert float(rests[3]) == pytest.approx(MEMBERS * (0.1 + 0.1), abs=0.006)
    assert any(verdict.decision == "reproduced" for verdict in verdicts)
    (sentence,) = [
        line
        for line in text.splitlines()
        if line.startswith("Claims of order, at this scale: hold: ")
    ]
    for word, decision in (
        ("hold", "reproduced"),
        ("undecided", "inconclusive"),
        ("fail", "not_reproduced"),
        ("not run", "not_run"),
    ):
        claims = [
            verdict.claim
            for verdict in verdicts
            if verdict.published is None and verdict.decision == decision
        ]
        assert f" {word}: {', '.join(claims) or 'none'}" in sentence


def test_it_opens_with_what_was_found(root: Path, study: Study) -> None:
    """Its figures are those of the verdicts and of Table 3. A claim that was not tested
    is only named.
    """
    page = (root / study.folder / "report.html").read_text()
    text = (root / study.folder / "RESULTS.md").read_text()
    verdicts, _ = read_verdicts(study.check, root)
    first, last = (Result(study.check.results[k], root).facts for k in (0, -1))
    gain = 100 * (first.top1_error - last.top1_error)
    headline = next(line for line in text.splitlines() if line.startswith("- **7 models"))
    assert f"with 144 crops make {100 * last.top1_error:.2f} % top-1 errors" in headline
    assert f"{gain:.2f} points fewer than the best single model with one crop" in headline
    tested = [verdict for verdict in verdicts if verdict.decision != "not_run"]
    assert f"This study tests {len(tested)} of {len(verdicts)} claims" in text
    lines = text[: text.index("RESULTS.png")].splitlines()
    for verdict in verdicts:
        label = {"reproduced": "Held", "inconclusive": "Open", "not_reproduced": "Failed"}
        named = [line for line in lines if f"{verdict.claim}, " in line]
        if verdict.decision == "not_run":
            assert not named
            continue
        assert verdict.measured is not None
        assert verdict.p_holm is not None
        (line,) = named
        assert line.startswith(f"- **{label[verdict.decision]}:**")
        claim = line[line.index(f"{verdict.claim}, ") :].partition(");")[0]
        points = f"{100 * abs(verdict.measured):.2f} points"
        assert (points if verdict.measured else "no more and no fewer") in claim
        assert f"{verdict.p_holm:.3g} by Holm" in claim
        assert claim.rstrip(").").endswith(("7 seeds", "15 images", "would decide"))
    assert page.count("not tested here: ") == 1
    assert page.index('class="headline"') < page.index('id="verdicts"')
    assert (root / study.folder / "RESULTS.png").read_bytes().startswith(b"\x89PNG")


def test_a_mark_of_a_chart_says_its_value(root: Path, study: Study) -> None:
    svg = (root / study.folder / "charts/errors_by_crops.svg").read_text()
    error = 100 * Result(study.check.results[-1], root).facts.top1_error
    assert svg.count(f"<title>7 models, 144 crops: {error:.2f} % (") == 2  # point and interval
    assert "<title>7 models, 144 crops: 6.67 %</title>" in svg  # the paper's


def test_only_what_the_server_holds_has_a_run_there(root: Path, study: Study) -> None:
    first, second = (member.classifier for member in study.check.results[0].members[:2])
    assert isinstance(first, TrainConfig)
    assert isinstance(second, TrainConfig)
    begin(first, root).write(root, run_id="delivered-1", delivered=(4, True))
    begin(second, root).write(root, run_id="waits-1")
    page = report(study.but(title="With W&B"), root).read_text()
    assert page.count("W&amp;B run <code>delivered-1</code>") == 1
    assert "waits-1" not in page


@pytest.mark.parametrize(
    ("decision", "difference", "words"),
    [
        (
            "fewer errors",
            -0.02,
            "\u201cb\u201d makes 2.00 points fewer top-5 errors than \u201ca\u201d",
        ),
        (
            "more errors",
            0.02,
            "\u201cb\u201d makes 2.00 points more top-5 errors than \u201ca\u201d",
        ),
        (
            "undecided",
            0.0,
            "\u201cb\u201d makes no more and no fewer top-5 errors than \u201ca\u201d",
        ),
    ],
)
def test_an_answer_follows_from_its_arm(
    decision: ArmDecision, difference: float, words: str
) -> None:
    base = ArmRow(arm="a", errors=[], error=0.3, spread=None, difference=0, decision="baseline")
    arm = base.model_copy(update={"arm": "b", "difference": difference, "decision": decision})
    other = arm.model_copy(update={"arm": "c", "difference": difference / 2})
    facts = SealedComparison.model_construct(
        question="Why?", num_seeds=3, num_images=9, decided_on=5
    )
    asked = Ablation(facts, "chart", "", "", {5: [base, arm, other]})
    found = findings([CELL], 5, [], [asked], Sample(1, 9))
    (answer,) = found.all
    assert answer.text == f"Why? {words}"
    assert answer.figures.endswith(f"{decision} too: \u201cc\u201d")
    assert answer.label == ("open" if decision == "undecided" else "decided")
    assert found.headline.startswith("One model with one crop makes 30.00 % top-5 errors")


def test_a_study_in_progress_has_a_page(root: Path, study: Study, tmp_path: Path) -> None:
    """The page has the results and curves that exist and the state of each stage, and
    no verdict.
    """
    longer = Study(
        name="longer", title="A longer <study>", check=CheckConfig(results=study.check.results[:3])
    )
    row = {
        "stage": "train",
        "name": "abc",
        "state": "running",
        "job": "7",
        "node": "n1",
        "progress": "step 3/9",
        "left": "1:00",
    }
    page = report_progress(longer, root, [{**row, "left": "1:00", "note": "<i>"}]).read_text()
    assert "A longer &lt;study&gt;" in page
    assert (
        f"{len(longer.stages) - 2} of {len(longer.stages)} stages complete, 3 of 3 results" in page
    )
    assert 'http-equiv="refresh"' in page
    assert "step 3/9" in page
    assert page.count("<svg") == 2
    assert "Verdict" not in page
    nothing = report_progress(longer, tmp_path, []).read_text()
    assert "<svg" not in nothing


def test_the_page_is_alone_and_says_what_it_shows(root: Path, study: Study) -> None:
    page = (root / study.folder / "report.html").read_text()
    assert not re.search(r"(src|href|xlink:href)=[\"'](?!data:|#)", page)
    assert "<script" not in page
    assert "@import" not in page
    assert "Seven &lt;members&gt;" in page
    assert page.count("<svg") == 3
    mistakes = Result(study.check.results[-1], root).mistakes
    assert page.count("data:image/jpeg;base64,") == len(mistakes)
    sealed = json.loads((root / study.folder / "report.json").read_text())
    assert {
        "charts/errors_by_size.png",
        "charts/training_curves.svg",
        "tables/verdicts.csv",
        "tables.json",
    } <= set(sealed["files"])
    assert (root / study.folder / "charts/errors_by_size.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((root / study.folder / "tables.json").read_text()).keys() >= {
        "table3",
        "classes",
        "verdicts",
    }
