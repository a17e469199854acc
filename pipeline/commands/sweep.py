"""The command that runs a study with several values of its fields: sweep."""

import hashlib
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import click

from pipeline.artefacts import sealing
from pipeline.commands.arguments import MOST, PROCESSES, SITE, study_command
from pipeline.commands.local import is_rank
from pipeline.commands.missing import refuse_wrong, run_missing
from pipeline.configs.points import MOST_POINTS, Point, in_words, points
from pipeline.configs.study import Study
from pipeline.errors import InputError, StageFailed
from pipeline.runtime import disk
from slurm.site import load_site
from slurm.status import wait as await_study
from slurm.table import columns

POINTS = click.option(
    "--set",
    "given",
    multiple=True,
    required=True,
    metavar="STAGE.FIELD=VALUES",
    help="Values of any field, such as train.learning_rate=0.01,0.02. Repeatable: a grid.",
)


@study_command(
    "going-deeper sweep demo --set train.learning_rate=0.01,0.02", settings_option=POINTS
)
@click.option(
    "--random",
    "num_random",
    type=click.IntRange(1, MOST_POINTS),
    help="Points of the grid, drawn at random.  [default: all]",
)
@click.option(
    "--seed", type=click.IntRange(0, MOST), default=0, show_default=True, help="Of --random."
)
@click.option(
    "--site", type=SITE, help="Site file or name: run the stages as jobs there.  [default: here]"
)
@click.option("--wait", is_flag=True, help="With --site: wait until all points are done.")
@PROCESSES
def sweep(
    study: Study,
    root: Path,
    given: Sequence[str],
    num_random: int | None,
    seed: int,
    site: Path | None,
    wait: bool,
    processes: int | None,
) -> None:
    """Run a study with each of several values of its fields, and compare.

    Every combination is a study under the same root, with a report of its own; what
    they share is made once. The same command goes on where it stopped. The table, also
    as CSV and JSON in ROOT/sweeps, has the errors of each study's last result: of all
    members and most crops.
    """
    if is_rank():
        raise InputError("sweep: starts its own ranks; call it without torchrun, or use run")
    chosen = points(study, given, num_random, seed)
    place = None if site is None else load_site(site)
    for point in chosen:
        refuse_wrong(point.study, root, place, is_plan=True)
    failures: dict[str, str] = {}
    _write(chosen, root, failures)
    for number, point in enumerate(chosen, start=1):
        print(f"point {number} of {len(chosen)}: {in_words(point)}", file=sys.stderr, flush=True)
        _make(point, root, failures, site, processes)
        _write(chosen, root, failures)
    if site is not None and wait:
        for point in chosen:
            with redirect_stdout(sys.stderr):
                await_study(point.study, root)
    rows, path = _write(chosen, root, failures)
    print(_table(rows))
    print(f"table: {path}")
    print(
        "errors are on the validation images: the best of several points looks better than it is",
        file=sys.stderr,
    )
    if failures:
        raise StageFailed(
            f"{len(failures)} of {len(chosen)} points failed; the same command tries them again"
        )
    if wait and (count := sum(row["state"] != "complete" for row in rows)):
        raise StageFailed(f"{count} of {len(chosen)} points are not complete; see the table")


def _make(
    point: Point, root: Path, failures: dict[str, str], site: Path | None, processes: int | None
) -> None:
    """Run or submit what a point lacks. If it fails, such as by a rate that is too
    high, the other points go on.
    """
    try:
        with redirect_stdout(sys.stderr):  # the output is the table alone
            run_missing(point.study, root, site, processes)
    except StageFailed as error:
        failures[point.study.hash] = str(error)
        print(f"failed: {error}", file=sys.stderr, flush=True)


def _write(
    chosen: Sequence[Point], root: Path, failures: dict[str, str]
) -> tuple[list[dict[str, Any]], Path]:
    """Write the table of a sweep as CSV and JSON, and return its rows and the CSV."""
    from pipeline.reporting.table_files import as_csv  # late: it takes templates

    rows = [_row(point, root, failures.get(point.study.hash, "")) for point in chosen]
    digest = hashlib.sha256(" ".join(point.study.hash for point in chosen).encode()).hexdigest()
    path = root / "sweeps" / f"{chosen[0].study.name}-{digest[:8]}.csv"
    disk.write_atomic(path, as_csv(rows))
    disk.write_json(path.with_suffix(".json"), rows)
    return rows, path


def _row(point: Point, root: Path, problem: str) -> dict[str, Any]:
    study, is_complete = point.study, point.study.is_complete(root)
    result = study.check.results[-1]
    facts = sealing.RESULT.unseal(result, root) if is_complete else None
    return {
        **point.values,
        "state": "complete" if is_complete else "failed" if problem else "missing",
        "models": result.num_models,
        "crops": result.policy,
        "top1_error": facts.top1_error if facts else None,
        "top5_error": facts.top5_error if facts else None,
        "report": str(root / study.folder),
        "note": problem,
    }


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as columns."""
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    return "\n".join(columns(cells))


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
