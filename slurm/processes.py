"""The processes of this machine, as /proc shows them, and its free ports."""

import contextlib
import os
import random
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import StageFailed


def parents() -> Iterator[tuple[int, int]]:
    """Yield every process with its parent."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(path.name), int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])


def ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    """Yield the ancestors of a process, nearest first."""
    while (pid := parents.get(pid, 0)) > 1:
        yield pid


def environment(pid: int) -> list[str]:
    """Return the variables of a process at its start, as `NAME=value`."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def command(pid: int) -> str:
    """Return the name of a process's program."""
    try:
        return (
            Path(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()).name
            if pid
            else ""
        )
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a child of ours that has ended is reaped."""
    with contextlib.suppress(ChildProcessError):  # of a process that is no child of ours
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def send(pid: int, number: signal.Signals) -> None:
    """Send a process a signal, if the process exists."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def free_ports(count: int) -> list[int]:
    """Return free ports in a row, below the ephemeral range.

    No outgoing connection can take such a port before its daemon does.
    """
    rng = random.Random()
    for _ in range(200):
        first = rng.randrange(10_000, 32_000 - count)
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for port in range(first, first + count):
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return list(range(first, first + count))
    raise StageFailed(f"no {count} free ports in a row between 10000 and 32000")
