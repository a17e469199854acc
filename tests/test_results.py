"""RESULTS.md is what the committed hits give, to the byte, and every figure in it can
be counted again from them.
"""

import shutil
from pathlib import Path

import pytest

from pipeline.configs.experiment import load_study
from pipeline.configs.study import Study
from pipeline.stages.report import report
from pipeline.tools.recount import recount
from tests.commands import TOP

OPTIONS = ("--members", "7", "--seeds", "3", "--precision", "bf16", "--epochs", "24")


@pytest.fixture
def study() -> Study:
    return load_study(TOP / "experiments/caltech101.py", OPTIONS)


def test_the_command_is_that_of_the_page() -> None:
    command = (
        f"going-deeper report experiments/caltech101.py {' '.join(OPTIONS)} --root results --into ."
    )
    assert command in " ".join((TOP / "docs/results.md").read_text().split())


def test_results_are_what_the_hits_give(study: Study, tmp_path: Path) -> None:
    root = tmp_path / "results"
    shutil.copytree(TOP / "results", root)
    page = report(study, root)
    assert (page.parent / "RESULTS.md").read_text() == (TOP / "RESULTS.md").read_text()


def test_every_figure_can_be_counted_again(study: Study) -> None:
    count, problems = recount(study, TOP / "results")
    assert problems == []
    assert count > 4000  # all ensembles of seven members, at eight numbers of crops
