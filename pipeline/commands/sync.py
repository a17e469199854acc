"""The command that uploads tracked runs to W&B: sync."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from pipeline.artefacts import locks
from pipeline.commands.arguments import ROOT
from pipeline.errors import StageFailed
from pipeline.tracking import page as pages
from pipeline.tracking import sync as wandb_sync
from pipeline.tracking.agent import refuse_agent


@click.command(epilog="Example: going-deeper sync --root outputs")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print an object: uploaded, a list of folders; pending, of folder and reason.",
)
@ROOT
def sync(root: Path, as_json: bool) -> None:
    """Upload to W&B what its server does not have yet.

    That is what was tracked offline, or killed online. Run again, it goes on with what
    is still here; artefacts in progress come later.

    Each row of metrics.jsonl arrives once. A run that was deleted on the server comes
    again under another id.
    """
    refuse_agent(os.environ)
    problems: dict[str, str] = {}
    uploaded, pending = [], []
    for path in pages.pages(root):
        try:
            page = pages.read(path)
            if not page.is_delivered(root):
                pending.append(page)
        except ValueError:
            problems[str(path)] = "it is damaged; remove it, and this is no more tracked"
    if pending and not wandb_sync.is_reachable():
        raise StageFailed(
            f"{len(pending)} runs are pending, and {wandb_sync.server()} does not answer; set"
            " WANDB_BASE_URL"
        )
    for page in pending:
        name = str(page.config.folder)
        if problem := locks.held_by(page.config.hash, root) or wandb_sync.upload(page, root):
            problems[name] = problem
        else:
            uploaded.append(name)
            if not as_json:
                print(f"{name}: uploaded", flush=True)
    print(_as_json(uploaded, problems) if as_json else _in_words(uploaded, problems))
    if problems:
        raise StageFailed(
            f"{len(problems)} runs are not on the server yet; run going-deeper sync again"
        )


def _as_json(uploaded: Sequence[str], problems: Mapping[str, str]) -> str:
    pending = [{"folder": name, "reason": words} for name, words in problems.items()]
    return json.dumps({"uploaded": uploaded, "pending": pending}, indent=1)


def _in_words(uploaded: Sequence[str], problems: Mapping[str, str]) -> str:
    lines = [f"{name}: pending: {words}" for name, words in problems.items()]
    return "\n".join([*lines, f"{len(uploaded)} uploaded, {len(problems)} pending"])
