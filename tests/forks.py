"""Processes that start at once, as the product's ranks do."""

import os
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from pipeline.runtime import fork_server

# pyarrow imports pandas as it makes a column
PRELOADED = ("pipeline.stages.train", "pipeline.stages.evaluate", "pandas")


def fork(target: Callable[..., object], *arguments: object, **variables: str) -> BaseProcess:
    """Start a new process with these variables beside this one's."""
    context = fork_server.forks(*PRELOADED)
    process = context.Process(target=_begin, args=({**os.environ, **variables}, target, arguments))
    process.start()
    return process


def _begin(
    variables: Mapping[str, str], target: Callable[..., object], arguments: tuple[object, ...]
) -> None:
    fork_server.begin(variables)
    # of the server that it may start itself
    get_context("forkserver").set_forkserver_preload(list(PRELOADED))
    target(*arguments)


def members(session: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = path.read_text().rpartition(") ")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == session and state != "Z":
            pids.append(int(path.parent.name))
    return pids
