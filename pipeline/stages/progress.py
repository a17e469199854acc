"""The page of a study that is not complete."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline.artefacts.result import Result
from pipeline.configs.study import Study
from pipeline.reporting import figures, tables
from pipeline.reporting.wording import templates
from pipeline.runtime import disk
from pipeline.stages.report import PROGRESS, members_of, place_of, trainings_of
from pipeline.statistics.levels import deciding_top


def report_progress(study: Study, root: Path, stages: Sequence[Mapping[str, str]]) -> Path:
    """Write the page of a study that is not complete, and return its path.

    The page lies in the folder of the report to come. `stages` has a row for each
    stage. The page loads itself again every half minute; in the end it leads to the
    report.
    """
    results = [Result(cell, root) for cell in study.check.results if cell.is_complete(root)]
    top = deciding_top(results[0].facts.num_classes) if results else 5
    table3 = tables.cells(results, top) if results else []
    trainings = trainings_of(members_of(study.check.results))
    facts = {
        "study": study.name,
        "title": study.title,
        "rows": stages,
        "done": sum(stage.is_complete(root) for stage in study.stages),
        "num_stages": len(study.stages),
        "num_results": len(study.check.results),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cells": table3,
        "top": top,
        "charts": figures.of_errors(table3, [], top, place_of(study))
        | figures.of_trainings(tables.curves(trainings, root, top), trainings, root),
        "captions": figures.captions(top),
    }
    page = root / study.folder / PROGRESS
    disk.write_atomic(page, templates().get_template("progress.html").render(facts).encode())
    return page
