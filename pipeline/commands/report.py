"""The commands that show studies, here or in a browser: report, index, publish,
recount."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from pipeline.artefacts import sealing
from pipeline.commands.arguments import PATH, ROOT, study_command
from pipeline.commands.local import forget_report, refuse_stale, show
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import Study
from pipeline.errors import InputError, StageFailed
from pipeline.reporting.server import served
from pipeline.runtime import disk
from pipeline.stages import run_stage
from slurm.status import status

PAGE = "report.html"
RESULTS = ("RESULTS.md", "RESULTS.png")
WATCH_SECONDS = 30.0  # ours: between two looks


@study_command("going-deeper report demo --into results")
@click.option("--into", type=PATH, help="Also write RESULTS.md and its picture there.")
@click.option(
    "--watch",
    is_flag=True,
    help=f"Rebuild every {WATCH_SECONDS:.0f} seconds until the study is complete.",
)
@click.option("--serve", is_flag=True, help="Show it at an address of this machine until Ctrl-C.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="With --serve.  [default: a free one]"
)
def report(
    study: Study,
    root: Path,
    into: Path | None,
    watch: bool,
    serve: bool,
    port: int,
) -> None:
    """Rebuild the report of a study from its verdicts and results; of a study in
    progress, show what there is. Claims are judged first where that is missing.
    """
    refuse_stale(study, root)
    if not watch:
        _judge(study, root)
    if into is not None and not watch:
        sealing.unseal(study.check, root)  # RESULTS.md holds verdicts only
    page = rebuild(study, root)
    with served(page, port) if serve else _nothing():
        while watch and page.name != PAGE:
            time.sleep(WATCH_SECONDS)
            page = rebuild(study, root, anew=False)  # the study's own command makes it too
        if into is not None:
            for name in RESULTS:
                if (page.parent / name).is_file():
                    disk.write_atomic(into / name, (page.parent / name).read_bytes())
        if study.check.is_complete(root):
            show(study, root)
        else:
            print(f"in progress, no verdict yet: {page}")
        while serve:
            time.sleep(3600)


def _judge(study: Study, root: Path) -> None:
    """Judge claims and arms whose results are complete, as after a change of the rules.

    Arms of ensembles need the scores of all images, and a published root has none.
    """
    arms = [config for config in study.comparisons if config.models == 1]
    for config in (study.check, *arms):
        if not config.is_complete(root) and all(stage.is_complete(root) for stage in config.inputs):
            run_stage(config, root)


def rebuild(study: Study, root: Path, anew: bool = True) -> Path:
    """Make the report, or the page of a study in progress, and return its path.

    With `anew` the report is made again if it exists.
    """
    from pipeline.stages.progress import report_progress

    if study.check.is_complete(root):
        if anew:
            forget_report(study, root)
        run_stage(study, root)
        return root / study.folder / PAGE
    own = [config for config in study.stages[:-1] if not isinstance(config, PrepareConfig)]
    if not any((root / config.folder).exists() for config in own):
        raise InputError(
            f"{root}: nothing of {study.name} with these options is there; give those of its run"
        )
    rows: list[dict[str, str]] = []
    try:
        rows = [row._asdict() for row in status(study, root)]
    except InputError as error:  # SLURM is silent, or not on this machine: the files still say much
        print(f"going-deeper: {error}; the page shows no jobs", file=sys.stderr, flush=True)
    return report_progress(study, root, rows)


@click.command(epilog="Example: going-deeper index --root outputs")
@ROOT
def index(root: Path) -> None:
    """Write a page of all studies under a root, and their results as CSV in timm's
    columns. They are ROOT/index.html and ROOT/results.csv.
    """
    from pipeline.tools.index import write_index

    print(write_index(root))


@study_command("going-deeper publish demo --to results")
@click.option(
    "--to", type=PATH, required=True, help="A folder that is then a root of its own, for --root."
)
def publish(study: Study, root: Path, to: Path) -> None:
    """Copy the small files of a finished study: hits, figures, verdicts, provenance; no
    data set and no weights.

    From the copy its report and verdicts are made again (`report`), and its figures
    counted again (`recount`).
    """
    from pipeline.tools import recount as counting

    refuse_stale(study, root)
    copies = counting.publish(study, root, to)
    print(
        f"{len(copies)} files, {sum(path.stat().st_size for path in copies) / 1e6:.1f} MB, in {to}"
    )


@study_command("going-deeper recount demo --root results")
def recount(study: Study, root: Path) -> None:
    """Make every figure of a finished study again from the hits of every image, and
    compare.
    """
    from pipeline.tools import recount as counting

    count, problems = counting.recount(study, root)
    if problems:
        raise StageFailed(
            "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if problems[5:] else "")
        )
    print(f"{count} figures are what the hits give")


@contextmanager
def _nothing() -> Iterator[None]:
    yield
