"""What the file system of a root must have: hard links, and locks that all hosts see.

And what it may lack: a file of another host may be seen late.
"""

import errno
import os
import re
import time
import uuid
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from pipeline.errors import InputError

# of NFS (nfs(5)), Lustre (mount.lustre(8)), CIFS (mount.cifs(8)) and GFS2: each host
# locks for itself
LOCKS_OF_ONE_HOST = frozenset(
    {"nolock", "local_lock=all", "local_lock=flock", "localflock", "localflocks", "nobrl"}
)
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
# ours: NFS looks for a file again after 60 seconds at the latest (nfs(5), acdirmax)
LATE_SECONDS, LOOK_SECONDS = 90.0, 0.2
MOUNTS = Path("/proc/self/mountinfo")


@cache
def refuse_unfit(root: Path) -> None:
    """Refuse a root on which two processes could make one artefact.

    Raises:
        InputError: its file system has no hard links, or each host keeps locks for
            itself. The message names what it lacks.
    """
    expected = "--root must be on a file system with hard links, and locks that all hosts see"
    mounts = MOUNTS.read_text(errors="surrogateescape") if MOUNTS.exists() else ""
    kind, options = _mount(root.resolve(), mounts)
    if own := sorted(options & LOCKS_OF_ONE_HOST):
        raise InputError(
            f"{root}: its file system ({kind}, mounted with {own[0]}) keeps the locks of each host"
            f" apart; {expected}"
        )
    first, second = (root / f".link-{uuid.uuid4().hex}" for _ in range(2))
    try:
        first.touch()
        os.link(first, second)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        raise InputError(
            f"{root}: its file system ({kind}) has no hard links ({error.strerror}); {expected}"
        ) from None
    finally:
        first.unlink(missing_ok=True)
        second.unlink(missing_ok=True)


def _mount(path: Path, table: str) -> tuple[str, frozenset[str]]:
    """Return the kind of the file system that holds a path, and its options.

    `table` is /proc/self/mountinfo (proc(5)), where a space is \\040.

    >>> table = "9 1 0:5 / /home rw - nfs4 server:/home rw,hard,local_lock=all"
    >>> kind, options = _mount(Path("/home/me"), table)
    >>> kind, "local_lock=all" in options
    ('nfs4', True)
    """
    best, kind, options = "", "unknown", frozenset[str]()
    for line in table.splitlines():
        place, _, device = line.partition(" - ")
        fields, own = place.split(), device.split()
        if len(fields) < 6 or len(own) < 3:
            continue
        folder = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4])
        if len(folder) >= len(best) and path.is_relative_to(folder):
            best, kind = folder, own[0]
            options = frozenset({*fields[5].split(","), *own[2].split(",")})
    return kind, options


def wait_for(paths: Iterable[Path], seconds: float = LATE_SECONDS) -> None:
    """Wait until files that another host has written are seen here, but not for ever.

    Whoever needs them says what is missing.
    """
    deadline = time.monotonic() + seconds
    for path in paths:
        while not path.is_file() and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
