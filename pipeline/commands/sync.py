"""The command that uploads tracked runs to W&B: sync."""

from pathlib import Path

import click

from pipeline.artefacts import locks
from pipeline.commands.arguments import ROOT
from pipeline.errors import StageFailed
from pipeline.tracking import page as pages
from pipeline.tracking import sync as wandb_sync


@click.command(epilog="Example: going-deeper sync --root outputs")
@ROOT
def sync(root: Path) -> None:
    """Upload to W&B what its server does not have yet.

    That is what was tracked offline, or killed online. Run again, it goes on with what
    is still here; artefacts in progress come later.

    Each row of metrics.jsonl arrives once. A run that was deleted on the server comes
    again under another id.
    """
    problems, uploaded, pending = [], 0, []
    for path in pages.pages(root):
        try:
            page = pages.read(path)
            if not page.is_delivered(root):
                pending.append(page)
        except ValueError:
            problems.append(f"{path}: is damaged; remove it, and this is no more tracked")
    if pending and not wandb_sync.is_reachable():
        raise StageFailed(
            f"{len(pending)} runs are pending, and {wandb_sync.server()} does not answer; set"
            " WANDB_BASE_URL"
        )
    for page in pending:
        name = page.config.folder
        if problem := locks.held_by(page.config.hash, root) or wandb_sync.upload(page, root):
            problems.append(f"{name}: pending: {problem}")
        else:
            uploaded += 1
            print(f"{name}: uploaded", flush=True)
    for problem in problems:
        print(problem)
    print(f"{uploaded} uploaded, {len(problems)} pending")
    if problems:
        raise StageFailed(
            f"{len(problems)} runs are not on the server yet; run going-deeper sync again"
        )
