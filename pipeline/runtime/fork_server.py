"""Start new processes in a tenth of a second, as forks of multiprocessing's server.

A new Python takes seconds to import torch, and a study starts many processes. The
server has imported the stages already, and serves one command. It has no threads and
has not used a GPU, so that its forks may do both.
"""

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import connection, forkserver, resource_tracker, util
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from pipeline.errors import StageFailed, present
from pipeline.runtime import remains
from pipeline.runtime.environment import PROCESS_ENVIRONMENT
from pipeline.runtime.signals import ENDING

# they reach the whole group of processes: the server must not end before its forks
HELD = {signal.SIGINT, signal.SIGHUP, *ENDING}
PATIENCE_SECONDS, POLL_SECONDS = 2.0, 0.02  # ours
LONGEST = 30  # characters of TMPDIR: the path of a socket in it has at most 108


def forks(*preloaded: str) -> ForkServerContext:
    """Return the context whose processes are forks, and start its server.

    The server imports `preloaded` while this process goes on. Each fork calls `begin`
    first. The first call decides what is preloaded: a running server does not change.
    """
    context = multiprocessing.get_context("forkserver")
    if preloaded:
        context.set_forkserver_preload(list(preloaded))
    keep_sockets()
    # otherwise the start of the server starts this tracker, which unblocks signals
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
    """Start a fork that calls `target`; `target` must call `begin` first.

    A server that was killed may take a moment to end; then another one serves.

    Raises:
        StageFailed: the server dies again and again.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        process = forks().Process(target=target, args=arguments)
        try:
            process.start()
            return process
        except (EOFError, ConnectionError):
            if time.monotonic() > deadline:
                raise StageFailed(
                    "the server that starts processes has died; run the command again"
                ) from None
            time.sleep(POLL_SECONDS)


def _end_server() -> None:
    """End the server with the command.

    The server may still import, or serve starts that nobody waits for. Its process id
    is private to Python (tried with 3.11). Without it the server ends by itself, after
    its imports and starts.
    """
    server = getattr(forkserver, "_forkserver", None)
    if (process_id := getattr(server, "_forkserver_pid", None)) is not None:
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)


@cache
def keep_sockets() -> None:
    """Keep multiprocessing's sockets in a folder that says whose it is.

    A later command removes it if this process is killed. multiprocessing's own folder
    would stay for ever.
    """
    before = tempfile.gettempdir()
    short = Path(before if len(before) <= LONGEST else "/tmp")
    remains.sweep(short, silent=True)  # sockets of killed commands are of no interest
    folder = remains.unfinished(short / "gd")
    folder.mkdir(mode=0o700)
    # runs behind multiprocessing's own, which has -100
    util.Finalize(None, remains.remove, (folder,), exitpriority=-101)
    tempfile.tempdir = str(folder)
    try:
        util.get_temp_dir()  # makes a folder once, and keeps it
    finally:
        tempfile.tempdir = before


def begin(environment: Mapping[str, str]) -> None:
    """Prepare a fork: it calls this function first.

    From now on the fork ends with the process that started it, receives signals, and
    has its own variables. Its parent is the server, so the death of its parent says
    nothing. Ctrl-C is for the process that started it, which ends its forks after they
    have saved.
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
    """Set, within the block, the variables with which a server starts.

    Libraries read some of them when they are loaded. The others limit imports to this
    process's path: a folder `pipeline` in the working folder may be another project's.
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
