"""Processes that start at once, as the product's ranks do."""

import os
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

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
