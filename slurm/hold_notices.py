"""Starts Python with the scheduler's notice held back, until the job says that it
listens: `hold_notices.py ARGUMENTS`.

A job spends its first seconds in imports, and its last in clearing away. A notice then
would kill it: SLURM would call it failed, and not run it again. This is a script, as
only so it imports nothing that takes time.
"""

import os
import signal
import sys

NOTICE = signal.SIGUSR2  # submitit's; the held signal outlives exec, and waits


def listen() -> None:
    """From here on a notice is delivered, one that came before too."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {NOTICE})


def disregard() -> None:
    """From here on a notice is of no account: the work is done. Python's own handlers
    are gone before its process is.
    """
    signal.signal(NOTICE, signal.SIG_IGN)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {NOTICE})
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
