"""New processes in a tenth of a second: forks of a server that has imported the stages
already (multiprocessing's).

A fresh Python takes seconds to import torch, and a study starts many. One server serves
all of a command. It has no threads and has not touched a GPU, so that a fork of it may
do both.
"""

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import connection, forkserver, resource_tracker, util
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

from pipeline.errors import StageFailed, present
from pipeline.runtime.environment import PROCESS_ENVIRONMENT
from pipeline.runtime.signals import ENDING

# to the whole group: the server must not end before its forks
HELD = {signal.SIGINT, signal.SIGHUP, *ENDING}
LONGEST = 70  # of TMPDIR, in characters: the path of a socket in it ends at 108


def forks(*preloaded: str) -> ForkServerContext:
    """The context whose processes are forks; its server starts now, and imports
    `preloaded` while this process goes on.

    Each fork calls `begin` first. A server that runs already stays as it is: the first
    call decides what is preloaded.
    """
    context = multiprocessing.get_context("forkserver")
    if preloaded:
        context.set_forkserver_preload(list(preloaded))
    if len(tempfile.gettempdir()) > LONGEST:
        _keep_sockets_in("/tmp")
    # else the server's start would start it, and unblock signals meanwhile
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        with _server_environment():
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    atexit.unregister(_end_server)
    atexit.register(_end_server)
    return context


def start(target: Callable[..., object], *arguments: object) -> BaseProcess:
    """A fork that calls `target`, which calls `begin` first.

    Raises:
        StageFailed: the server has died.
    """
    process = forks().Process(target=target, args=arguments)
    try:
        process.start()
    except (EOFError, ConnectionError):
        raise StageFailed(
            "the server that starts processes has died; run the command again"
        ) from None
    return process


def _end_server() -> None:
    """With the command, however early that ends: it may still import, and have starts
    to serve that nobody waits for.

    Its id is private to Python (tried with 3.11); where that is gone, the server ends
    by itself, once it has imported and served.
    """
    server = getattr(forkserver, "_forkserver", None)
    if (process_id := getattr(server, "_forkserver_pid", None)) is not None:
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)


def _keep_sockets_in(folder: str) -> None:
    before, tempfile.tempdir = tempfile.tempdir, folder
    try:
        util.get_temp_dir()  # is made once, and kept
    finally:
        tempfile.tempdir = before


def begin(environment: Mapping[str, str]) -> None:
    """What a fork does first: end with the process that asked for it, however that
    ends; take signals; have its variables.

    The server's death tells a fork nothing, nor does its own parent's, which is the
    server. Ctrl-C is for the process that
    asked: it ends its forks, once they have saved.
    """
    parent = present(multiprocessing.parent_process(), "the parent of a fork")
    threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


@contextmanager
def _server_environment() -> Iterator[None]:
    """Within, the variables with which a server starts: those that libraries read as
    they are loaded, and the modules of this process's path alone, as a folder
    `pipeline` in the working folder might be another's.
    """
    before = dict(os.environ)
    os.environ.update(PROCESS_ENVIRONMENT | before)
    os.environ.update(
        PYTHONSAFEPATH="1", PYTHONPATH=os.pathsep.join(path for path in sys.path if path)
    )
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
