"""Where a number comes from: commit, command, versions, machine."""

import json
import os
import platform
import shlex
import socket
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from pipeline.artefacts.contents import Provenance
from pipeline.runtime.environment import COMMAND

COMMIT_FILE = "commit.json"
PACKAGES = ("torch", "torchvision", "accelerate", "numpy", "pillow", "pyarrow", "scipy", "wandb")


def collect() -> Provenance:
    """Commit, whether the tree had uncommitted changes, command, versions, host and
    time.
    """
    found = {
        **commit(),
        "command": os.environ.get(COMMAND, shlex.join(sys.argv)),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "host": socket.gethostname(),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return cast(Provenance, found)


@cache
def commit() -> dict[str, Any]:
    """The commit of this code; unknown where it runs outside a git checkout. A copy of
    it carries that in a file.
    """
    here = Path(__file__).resolve().parents[2]
    if (here / COMMIT_FILE).is_file():
        carried: dict[str, Any] = json.loads((here / COMMIT_FILE).read_text())
        return carried

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != here:
            return {"commit": "unknown", "dirty": False}
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown", "dirty": False}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
