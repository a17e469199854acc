"""Start Python with the scheduler's notice blocked: `hold_notices.py ARGUMENTS`.

The notice stays blocked until the job listens. A job's first seconds go into imports,
its last into cleaning up. A notice in that time would kill the job: SLURM would call it
failed, and not run it again. This is a script, so that it imports nothing slow.
"""

import os
import signal
import sys

NOTICE = signal.SIGUSR2  # submitit's; a blocked signal waits, also across exec


def listen() -> None:
    """Deliver notices from now on, also one that came before."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {NOTICE})


def disregard() -> None:
    """Ignore notices from now on, because the work is done.

    At its end, a process outlives Python's own handlers.
    """
    signal.signal(NOTICE, signal.SIG_IGN)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {NOTICE})
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
