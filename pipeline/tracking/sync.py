"""Uploading the offline runs that tracking left under a root. wandb's own client does
it, and marks what is done.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from pipeline.configs.study import STAGES

TIMEOUT_SECONDS = 600  # ours: for one run; a server that hangs must not hold the others up for ever


class OfflineRun(NamedTuple):
    """A segment of a run: each attempt of a stage writes one, under the artefact's
    hash.
    """

    folder: Path

    @property
    def run_id(self) -> str:
        """The artefact's hash."""
        return self.folder.name.rpartition("-")[2]

    @property
    def is_uploaded(self) -> bool:
        """Whether all of it is on the server."""
        return any(self.folder.glob("run-*.wandb.synced"))


def offline_runs(root: Path) -> list[OfflineRun]:
    """All segments below a root, oldest first: those of one run are joined in this
    order, and what an artefact is made from reaches the server before it. A folder's
    name has the second of its start; within one, the order of the stages decides.
    """
    folder = Path(os.environ.get("WANDB_DIR", str(root))) / "wandb"
    runs = [
        OfflineRun(path) for path in folder.glob("offline-run-*") if any(path.glob("run-*.wandb"))
    ]
    return sorted(
        runs,
        key=lambda run: (
            run.folder.name.rpartition("-")[0],
            stage_number(run.run_id, root) or 0,
            run.run_id,
        ),
    )


def stage_number(run_id: str, root: Path) -> int | None:
    """The place of a run's stage in the order of stages; None if its artefact is
    gone.
    """
    rooms = [kind.room for kind in STAGES.values()]
    return next(
        (number for number, room in enumerate(rooms) if (root / room / run_id).is_dir()), None
    )


def server() -> str:
    """The address of the user's W&B."""
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def is_reachable() -> bool:
    """Whether the server can be connected to; its own client would try for many
    minutes.
    """
    host, _, port = server().split("://")[-1].rstrip("/").partition(":")
    try:
        with socket.create_connection(
            (host, int(port or (80 if server().startswith("http:") else 443))), timeout=5
        ):
            return True
    except (OSError, ValueError):
        return False


def upload(run: OfflineRun) -> str:
    """Upload a segment; returns why it could not be, in one line, or nothing."""
    # wandb writes a log below the folder that it is started in
    place = run.folder.absolute().parents[1]
    command = [sys.executable, "-m", "wandb", "sync", str(run.folder.absolute())]
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
    try:
        ended = subprocess.run(
            command,
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the server did not take it in {TIMEOUT_SECONDS} s"
    if run.is_uploaded:
        return ""
    lines = [
        line.removeprefix("wandb: ").strip() for line in (ended.stdout + ended.stderr).splitlines()
    ]
    problems = [line for line in lines if "error" in line.lower() or "failed" in line.lower()] or [
        line for line in lines if line
    ]
    return problems[-1] if problems else f"wandb sync ended with exit code {ended.returncode}"
