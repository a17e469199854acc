"""The port on which the ranks of a launch find each other."""

import socket
from collections.abc import Callable

from pipeline.errors import Bug

TRIES = 4  # ours: a port is rarely taken, and hardly ever twice


def on_a_free_port(launch: Callable[[int], object]) -> None:
    """Call `launch` with a free port; again with another where it was taken meanwhile.

    Another program may take a port before the first rank does, which loads torch first.
    """
    for tries_left in reversed(range(TRIES)):
        try:
            launch(free_port())
        except Bug as error:
            if not tries_left or "EADDRINUSE" not in error.last_line:
                raise
        else:
            return


def free_port() -> int:
    """Return a port that no program has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
