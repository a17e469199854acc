"""A study's small files, kept elsewhere: its report and every figure made again from the hits among them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from pipeline.artefacts.predictions import write_table
from pipeline.artefacts.storage import sha256
from pipeline.stages.compare import compare
from pipeline.stages.recount import publish, recount
from pipeline.stages.report import report
from pipeline.study import Arm, CompareConfig, InputError, Study


@pytest.fixture(scope="module")
def study(seven_root: Path, seven_members: Study) -> Study:
    """With an ablation and a comparison of ensembles."""
    members = seven_members.check.results[0].members
    arms = tuple(Arm(name=name, members=members[k : k + 3]) for k, name in ((0, "first"), (3, "second")))
    asked = tuple(CompareConfig(question="Which?", arms=arms, models=models) for models in (1, 2))
    for config in asked:
        compare(config, seven_root)
    return Study(name="kept", title="Kept", check=seven_members.check, comparisons=asked)


@pytest.fixture
def kept(study: Study, seven_root: Path, tmp_path: Path) -> Path:
    copies = publish(study, seven_root, tmp_path / "kept")
    assert not [path for path in copies if path.suffix in (".safetensors", ".arrow") or "shards" in path.parts]
    return tmp_path / "kept"


def test_the_report_of_the_copy_is_the_same(study: Study, seven_root: Path, kept: Path) -> None:
    pages = [report(study.report, root).parent for root in (seven_root, kept)]
    for name in ("RESULTS.md", "report.html", "tables.json"):
        assert (pages[0] / name).read_bytes() == (pages[1] / name).read_bytes()


def test_every_figure_is_what_the_hits_give(study: Study, kept: Path) -> None:
    count, problems = recount(study, kept)
    assert problems == []
    assert count > 6 * 127 * 2  # every ensemble of seven members, top-1 and top-5, at three numbers of crops and more


def test_a_changed_file_or_figure_is_named(study: Study, kept: Path) -> None:
    """A hit that was changed, with the digest changed to match."""
    cell = study.check.results[-1]
    path, sealed = kept / cell.folder / "hits.parquet", kept / cell.folder / cell.last_file
    table, before = parquet.read_table(path), sha256(path)
    columns = {name: table[name].to_numpy() for name in table.column_names}
    columns["rank"] = np.where(np.arange(len(columns["rank"])) == 2, 2 - columns["rank"], columns["rank"])
    write_table(path, columns)
    _, problems = recount(study, kept)
    assert problems[0] == f"{path}: is not the file that was sealed"
    sealed.write_text(sealed.read_text().replace(before, sha256(path)))
    _, problems = recount(study, kept)
    assert any(f"{sealed}: top1_error is " in problem and "the hits give" in problem for problem in problems)


def test_a_damaged_file_is_named(study: Study, kept: Path) -> None:
    path = kept / study.check.results[0].folder / "hits.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    _, problems = recount(study, kept)
    assert problems == [f"{path}: is not the file that was sealed"]
    path.unlink()
    assert recount(study, kept)[1] == problems


def test_what_cannot_be_published_is_refused(study: Study, seven_root: Path, kept: Path) -> None:
    with pytest.raises(InputError, match="is the root itself"):
        publish(study, seven_root, seven_root)
    shutil.rmtree(kept / study.check.folder)
    with pytest.raises(InputError, match="run the check stage first"):
        publish(study, kept, kept.parent / "again")
    assert not (kept.parent / "again").exists()
