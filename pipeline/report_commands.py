"""The commands that show a study: its report, here or in a browser; W&B."""

import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click

from pipeline.arguments import PATH, ROOT, study_command
from pipeline.artefacts import storage
from pipeline.experiment import load_study
from pipeline.local import is_first, refuse_stale
from pipeline.stages import run_stage
from pipeline.study import InputError, StageConfig, StageFailed, Study

WATCH_SECONDS = 30.0  # ours: between two looks


def add_to(commands: click.Group) -> None:
    """Add `report`, `publish`, `recount`, `dashboard` and `sync`."""
    study_command(commands, "going-deeper report experiments/demo.py --into results")(report)
    study_command(commands, "going-deeper publish experiments/demo.py --to results")(publish)
    study_command(commands, "going-deeper recount experiments/demo.py --root results")(recount)
    study_command(commands, "going-deeper dashboard experiments/demo.py")(dashboard)
    commands.add_command(sync)


@click.option("--into", type=PATH, help="Also write RESULTS.md into this folder.")
@click.option("--watch", is_flag=True, help=f"Rebuild every {WATCH_SECONDS:.0f} seconds until the study is complete.")
@click.option("--serve", is_flag=True, help="Show it at an address of this machine until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="With --serve.  [default: a free one]")
def report(
    experiment: Path, arguments: Sequence[str], root: Path, into: Path | None, watch: bool, serve: bool, port: int
) -> None:
    """Rebuild the report of a study from its verdicts and results; of a study in progress, show what there is."""
    from pipeline.stages.report import PROGRESS  # late, as the libraries that draw take half a second

    study = load_study(experiment, arguments)
    refuse_stale(study, root)
    if into is not None and not watch:
        storage.unseal(study.check, root)  # RESULTS.md holds verdicts only
    page = rebuild(study, root)
    with _server(page, port) if serve else _nothing():
        while watch and page.name == PROGRESS:
            time.sleep(WATCH_SECONDS)
            page = rebuild(study, root, anew=False)  # the study's own command makes it too
        if into is not None:
            storage.write_atomic(into / "RESULTS.md", (page.parent / "RESULTS.md").read_bytes())
        if study.check.is_complete(root):
            show(study, root)
        else:
            print(f"in progress, no verdict yet: {page}")
        while serve:
            time.sleep(3600)


def rebuild(study: Study, root: Path, anew: bool = True) -> Path:
    """Make the report, also if it is there (`anew`), or the page of a study in progress; returns the page."""
    if study.check.is_complete(root):
        if anew:
            forget_report(study, root)
        run_stage(study.report, root)
        return root / study.report.folder / "report.html"
    if not any((root / config.folder).exists() for config in study.stages):
        raise InputError(f"{root}: nothing of {study.name} is there; run the study first")
    from pipeline.stages.report import report_progress
    from slurm.status import status

    rows: list[dict[str, str]] = []
    try:
        rows = [row._asdict() for row in status(study, root)]
    except InputError as error:  # SLURM is silent, or not on this machine: the files still say much
        print(f"going-deeper: {error}; the page shows no jobs", file=sys.stderr, flush=True)
    return report_progress(study, root, rows)


def forget_report(study: Study, root: Path) -> StageConfig:
    """Have the report made again: it is quick, and what it shows may be newer than it."""
    config = study.report
    (root / config.folder / config.last_file).unlink(missing_ok=True)
    return config


def show(study: Study, root: Path) -> None:
    """Print the study's table and where its report lies."""
    config = study.report
    if config.is_complete(root) and is_first():
        sealed: dict[str, Any] = storage.unseal(config, root)
        print(sealed["summary"])
        print(f"report: {root / config.folder / 'report.html'}")


@click.option("--to", type=PATH, required=True, help="A folder that is then a root of its own, for --root.")
def publish(experiment: Path, arguments: Sequence[str], root: Path, to: Path) -> None:
    """Copy the small files of a finished study: hits, figures, verdicts, provenance; no data set and no weights.

    From the copy its report and verdicts are made again (`report`), and its figures counted again (`recount`)."""
    from pipeline.stages.recount import publish as copy

    study = load_study(experiment, arguments)
    refuse_stale(study, root)
    copies = copy(study, root, to)
    print(f"{len(copies)} files, {sum(path.stat().st_size for path in copies) / 1e6:.1f} MB, in {to}")


def recount(experiment: Path, arguments: Sequence[str], root: Path) -> None:
    """Make every figure of a finished study again from the hits of every image, and compare."""
    from pipeline.stages.recount import recount as count_again

    count, problems = count_again(load_study(experiment, arguments), root)
    if problems:
        raise StageFailed("; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if problems[5:] else ""))
    print(f"{count} figures are what the hits give")


def dashboard(experiment: Path, arguments: Sequence[str], root: Path) -> None:
    """Create or update a study's workspace and report on W&B: gap to the paper, verdicts, curves, crops, mistakes."""
    from pipeline.stages.dashboard import save_dashboard

    print("\n".join(save_dashboard(load_study(experiment, arguments), root)))


@click.command(epilog="Example: going-deeper sync --root outputs")
@ROOT
def sync(root: Path) -> None:
    """Upload to W&B what was tracked offline. Run again, it goes on with what is still here; runs in progress come later.

    Sync before a root is moved: weights and tables are read where they were made."""
    from pipeline.adapters import wandb_sync

    pending = [run for run in wandb_sync.offline_runs(root) if not run.is_uploaded]
    if pending and not wandb_sync.is_reachable():
        raise StageFailed(f"{len(pending)} runs are pending, and {wandb_sync.server()} does not answer; set WANDB_BASE_URL")
    problems = 0
    for run in pending:
        problem = storage.held_by(run.run_id, root) or _lost(run.run_id, root, run.folder) or wandb_sync.upload(run)
        problems += bool(problem)
        print(f"{run.folder.name}: {'pending: ' + problem if problem else 'uploaded'}", flush=True)
    print(f"{len(pending) - problems} uploaded, {problems} pending")
    if problems:
        raise StageFailed(f"{problems} runs are not on the server yet; run going-deeper sync again")


def _lost(run_id: str, root: Path, folder: Path) -> str:
    """Why the files that a run refers to cannot be uploaded, or nothing: W&B's client would leave them out without a word."""
    from pipeline.adapters import wandb_sync

    if wandb_sync.stage_number(run_id, root) is not None:
        return ""
    return f"its artefact is gone; make it again, or remove {folder} to give this up"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def _server(page: Path, port: int) -> Iterator[None]:
    """Within, a page and what lies beside it are served to this machine alone."""
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Quiet, directory=str(page.parent)))
    except OSError as error:
        raise InputError(f"--port {port}: {os.strerror(error.errno or 0)}; leave it out for a free one") from None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}/{page.name} (Ctrl-C ends)", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _nothing() -> Iterator[None]:
    yield
