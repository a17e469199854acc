"""What was tracked offline, to W&B."""

from pathlib import Path

import click

from pipeline.artefacts import locks
from pipeline.commands.arguments import ROOT
from pipeline.errors import StageFailed
from pipeline.tracking import sync as wandb_sync


@click.command(epilog="Example: going-deeper sync --root outputs")
@ROOT
def sync(root: Path) -> None:
    """Upload to W&B what was tracked offline. Run again, it goes on with what is still
    here; runs in progress come later.

    Sync before a root is moved: weights and tables are read where they were made.
    """
    pending = [run for run in wandb_sync.offline_runs(root) if not run.is_uploaded]
    if pending and not wandb_sync.is_reachable():
        raise StageFailed(
            f"{len(pending)} runs are pending, and {wandb_sync.server()} does not answer; set"
            " WANDB_BASE_URL"
        )
    problems = 0
    for run in pending:
        problem = (
            locks.held_by(run.run_id, root)
            or _lost(run.run_id, root, run.folder)
            or wandb_sync.upload(run)
        )
        problems += bool(problem)
        print(f"{run.folder.name}: {'pending: ' + problem if problem else 'uploaded'}", flush=True)
    print(f"{len(pending) - problems} uploaded, {problems} pending")
    if problems:
        raise StageFailed(f"{problems} runs are not on the server yet; run going-deeper sync again")


def _lost(run_id: str, root: Path, folder: Path) -> str:
    """Why the files that a run refers to cannot be uploaded, or nothing: W&B's client
    would leave them out without a word.
    """
    if wandb_sync.stage_number(run_id, root) is not None:
        return ""
    return f"its artefact is gone; make it again, or remove {folder} to give this up"
