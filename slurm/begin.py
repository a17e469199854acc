"""Start Python with the scheduler's notice blocked, once the copy of the code is sound.

The notice stays blocked until the job listens. A job's first seconds go into imports,
its last into cleaning up. A notice in that time would kill the job: SLURM would call it
failed, and not run it again.

The text of this file is part of the job's command: `python -I -S -c TEXT CODE DIGEST
UMASK ... JOBS`. So the copy of the code has no say in whether it is sound, and this
file imports nothing but Python's own.
"""

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

NOTICE = signal.SIGUSR2  # submitit's; a blocked signal waits, also across exec


def listen() -> None:
    """Deliver notices from now on, also one that came before."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {NOTICE})


def disregard() -> None:
    """Ignore notices from now on, because the work is done.

    At its end, a process outlives Python's own handlers.
    """
    signal.signal(NOTICE, signal.SIG_IGN)


def digest_of(folder: str) -> str:
    """Return the SHA-256 of all files below a folder, of their names and contents.

    A link counts as a link, because its target may change later.
    """
    digests = {}
    for path in Path(folder).rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            digests[name] = "a link"
        elif not path.is_dir():
            digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def begin(code: str, digest: str, umask: str, jobs: str) -> None:
    """Become the Python that carries out a job, with the user's umask."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {NOTICE})
    if digest_of(code) != digest:
        sys.exit(
            f"going-deeper: {code}: is no more the code that was submitted (SHA-256 {digest});"
            " nothing was run; submit again"
        )
    os.umask(int(umask, 8))
    os.execv(sys.executable, [sys.executable, "-u", "-m", "slurm.start", jobs])


if __name__ == "__main__":
    begin(sys.argv[1], sys.argv[2], sys.argv[3], jobs=sys.argv[-1])
