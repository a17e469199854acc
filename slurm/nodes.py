"""Nodes on which jobs died without a message.

The job's next attempt notes them. After the second death a node gets no new jobs.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pipeline.runtime import disk
from slurm import queue

FAILURES = 2  # ours: one death may be chance
DAYS = 7.0  # ours: a node is repaired in the end


def note_start(root: Path, name: str, attempt: int, nodes: Sequence[str]) -> None:
    """Note where an attempt of a job runs."""
    disk.write_json(_path(root, name, attempt), {"nodes": list(nodes)})


def note_pause(root: Path, name: str, attempt: int) -> None:
    """Note that an attempt ends as it should.

    It is at its time limit, it is preempted, or it will be tried again.
    """
    disk.publish(_path(root, name, attempt).with_suffix(".paused"), b"")


def deaths(root: Path, name: str, attempt: int) -> list[int]:
    """Return the attempts before this one that ended without a message."""
    paused = [
        _path(root, name, earlier).with_suffix(".paused").exists() for earlier in range(attempt)
    ]
    return [earlier for earlier, was_paused in enumerate(paused) if not was_paused]


def blame(root: Path, name: str, attempt: int) -> list[str]:
    """If the last attempt died, note and return its nodes that are down for SLURM."""
    if attempt - 1 not in deaths(root, name, attempt):
        return []
    try:
        nodes = json.loads(_path(root, name, attempt - 1).read_text())["nodes"]
    except (OSError, ValueError, KeyError):
        return []
    down = queue.down(nodes)
    for node in down:
        disk.publish(root / "jobs" / "nodes" / f"{node}.{time.time():.3f}.failure", b"")
    return down


def failing(root: Path) -> list[str]:
    """Return the nodes that failed twice in the last week."""
    failures: Counter[str] = Counter()
    for path in (root / "jobs" / "nodes").glob("*.failure"):
        if time.time() - path.stat().st_mtime < DAYS * 86400:
            failures[path.name.removesuffix(".failure").rsplit(".", 2)[0]] += 1
    return sorted(node for node, count in failures.items() if count >= FAILURES)


def forget(root: Path, name: str) -> None:
    """Forget the attempts of a name's earlier job; the failures of nodes stay."""
    for path in (root / "jobs" / "nodes").glob(f"{name}.[0-9]*.*"):
        if path.suffix in (".json", ".paused"):
            path.unlink(missing_ok=True)


def _path(root: Path, name: str, attempt: int) -> Path:
    return root / "jobs" / "nodes" / f"{name}.{attempt}.json"
