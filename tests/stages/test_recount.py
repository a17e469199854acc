"""A study's small files, kept elsewhere: its report and every figure made again from
the hits among them.
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from pipeline.artefacts.digests import digest_of
from pipeline.artefacts.predictions import write_table
from pipeline.configs.compare import Arm, CompareConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.runtime import disk
from pipeline.stages.compare import compare
from pipeline.stages.report import report
from pipeline.tools.recount import publish, recount
from tests.sealed import reseal


@pytest.fixture(scope="module")
def study(seven_root: Path, seven_members: Study) -> Study:
    """A study with an ablation and a comparison of ensembles."""
    members = seven_members.check.results[0].members
    arms = tuple(
        Arm(name=name, members=members[k : k + 3]) for k, name in ((0, "first"), (3, "second"))
    )
    asked = tuple(CompareConfig(question="Which?", arms=arms, models=models) for models in (1, 2))
    for config in asked:
        compare(config, seven_root)
    return Study(name="kept", title="Kept", check=seven_members.check, comparisons=asked)


@pytest.fixture
def kept(study: Study, seven_root: Path, tmp_path: Path) -> Path:
    copies = publish(study, seven_root, tmp_path / "kept")
    assert not [
        path
        for path in copies
        if path.suffix in (".safetensors", ".arrow") or "shards" in path.parts
    ]
    return tmp_path / "kept"


def test_the_report_of_the_copy_is_the_same(study: Study, seven_root: Path, kept: Path) -> None:
    pages = [report(study, root).parent for root in (seven_root, kept)]
    for name in ("RESULTS.md", "report.html", "tables.json"):
        assert (pages[0] / name).read_bytes() == (pages[1] / name).read_bytes()


def test_every_figure_is_what_the_hits_give(study: Study, kept: Path) -> None:
    count, problems = recount(study, kept)
    assert problems == []
    # every ensemble of seven members, top-1 and top-5, at three numbers of crops and
    # more
    assert count > 6 * 127 * 2


def test_a_changed_curve_is_named(study: Study, kept: Path) -> None:
    run = study.check.results[0].members[0].classifier
    assert isinstance(run, TrainConfig)
    last = 0.9 - 12 / 20
    metrics = kept / run.folder / "metrics.jsonl"
    replace(metrics, str(last), "0.25")
    path = kept / run.folder / run.last_file
    reseal(path, lambda facts: facts["timed"].update({metrics.name: disk.sha256(metrics)}))
    _, problems = recount(study, kept)
    assert sorted(problems) == [
        f"{path}: top{top}_error_{weights} is {last}, and the metrics give 0.25"
        for top in (1, 5)
        for weights in ("averaged", "raw")
    ]


def test_a_changed_hit_is_named(study: Study, kept: Path) -> None:
    """The digest names it first. If a forger changes all digests to match, every figure
    that it changes names it.
    """
    cell = study.check.results[-1]
    path, sealed = kept / cell.folder / "hits.parquet", kept / cell.folder / cell.last_file
    table, before = parquet.read_table(path), disk.sha256(path)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    columns["rank"] = np.where(
        np.arange(len(columns["rank"])) == 2, 2 - columns["rank"], columns["rank"]
    )
    write_table(path, columns)
    (problem,) = recount(study, kept)[1]
    assert problem.startswith(f"{path}: is damaged (digest ")
    replace(sealed, before, disk.sha256(path))
    (problem,) = recount(study, kept)[1]
    assert problem.startswith(f"{sealed}: is damaged (digest ")
    forge(kept, before, disk.sha256(path))
    _, problems = recount(study, kept)
    assert any(
        problem.startswith(f"{sealed}: top1_error is ") and "the hits give" in problem
        for problem in problems
    )


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda facts: facts["top1"][1]["best"].update(member=7), "top1[1].best.member is 7, and"),
        (lambda facts: facts["top5"].pop(), "top5[1].arm is None, and the hits give second"),
    ],
)
def test_an_edited_figure_is_named(
    study: Study, kept: Path, edit: Callable[[dict[str, Any]], object], expected: str
) -> None:
    config = study.comparisons[0]
    path = kept / config.folder / config.last_file
    reseal(path, edit)
    count, problems = recount(study, kept)
    assert count > 0
    assert f"{path}: {expected}" in "\n".join(problems)


def test_members_that_were_swapped_are_named(study: Study, kept: Path) -> None:
    """The result has hits that the evaluations of its members do not have."""
    member = study.check.results[0].members[0]
    path = kept / member.folder / "hits.parquet"
    table, before = parquet.read_table(path), disk.sha256(path)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    write_table(path, columns | {"rank_crops_144": columns["rank_crops_144"][::-1].copy()})
    forge(kept, before, disk.sha256(path))
    _, problems = recount(study, kept)
    cell = next(result for result in study.check.results if result.policy == "crops_144")
    assert (
        f"{kept / cell.folder / cell.last_file}: rank_member_0 of the members is True, and the hits"
        " give False" in problems
    )


def replace(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def forge(root: Path, old: str, new: str) -> None:
    """Replace a digest in all last files, and give each the digest that it has then."""
    for path in root.rglob("*.json"):
        replace(path, old, new)
        if "seal" in (facts := json.loads(path.read_text())):
            reseal(path, lambda facts: facts.update(digest=digest_of(facts["files"])))
            if facts["digest"] != json.loads(path.read_text())["digest"]:
                forge(root, facts["digest"], digest_of(facts["files"]))


def test_a_damaged_file_is_named(study: Study, kept: Path) -> None:
    path = kept / study.check.results[0].folder / "hits.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    (problem,) = recount(study, kept)[1]
    assert problem.startswith(f"{path}: is damaged (digest ")
    path.unlink()
    (problem,) = recount(study, kept)[1]
    assert problem.startswith(f"{path}: is missing; remove ")


def test_what_cannot_be_published_is_refused(study: Study, seven_root: Path, kept: Path) -> None:
    with pytest.raises(InputError, match="is the root itself"):
        publish(study, seven_root, seven_root)
    shutil.rmtree(kept / study.check.folder)
    with pytest.raises(InputError, match="run the check stage first"):
        publish(study, kept, kept.parent / "again")
    assert not (kept.parent / "again").exists()


def test_a_damaged_study_is_not_published(study: Study, kept: Path, tmp_path: Path) -> None:
    path = kept / study.check.results[0].folder / "hits.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(
        InputError,
        match=re.escape(f"{path}: is damaged (digest ") + ".*; nothing is published",
    ):
        publish(study, kept, tmp_path / "again")
    assert not (tmp_path / "again").exists()
