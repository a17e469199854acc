"""New processes in a tenth of a second: forks of a server that has imported the stages already (multiprocessing's).

A fresh Python takes seconds to import torch, and a study starts many. One server serves all of a command. It has no threads
and has not touched a GPU, so that a fork of it may do both.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.context import ForkServerContext

from pipeline.runtime.environment import PROCESS_ENVIRONMENT
from pipeline.runtime.signals import ENDING

HELD = {signal.SIGINT, *ENDING}  # a signal to the whole group must not end the server before the forks that it watches


def forks(*preloaded: str) -> ForkServerContext:
    """The context whose processes are forks; its server starts now, and imports `preloaded` while this process goes on.

    Each fork calls `begin` first. A server that runs already stays as it is: the first call decides what is preloaded.
    """
    context = multiprocessing.get_context("forkserver")
    if preloaded:
        context.set_forkserver_preload(list(preloaded))
    resource_tracker.ensure_running()  # else the server's start would start it, and unblock signals meanwhile
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        with _server_environment():
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def begin(environment: Mapping[str, str]) -> None:
    """What a fork does first: end with the process that asked for it, however that ends; take signals; have its variables.

    The server's death tells a fork nothing, nor does its own parent's, which is the server.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


@contextmanager
def _server_environment() -> Iterator[None]:
    """Within, the variables with which a server starts: those that libraries read as they are loaded, and the modules of
    this process's path alone, as a folder `pipeline` in the working folder might be another's."""
    before = dict(os.environ)
    os.environ.update(PROCESS_ENVIRONMENT | before)
    os.environ.update(PYTHONSAFEPATH="1", PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
