"""What SLURM's states of a job mean, in all versions from 20.11 to 25.11.

Sources: slurm.schedmd.com/job_state_codes.html, and squeue(1) and sacct(1) of those
versions.
"""

# the states that a job never leaves by itself, and what a user does about them
ENDED = {
    "COMPLETED": "",
    "CANCELLED": "",
    "FAILED": "",
    "TIMEOUT": "it reached its time limit: more timeout_min in the site file",
    "OUT_OF_MEMORY": "it had too little memory: more mem_gb in the site file",
    "NODE_FAIL": "its node failed: run again; exclude keeps a node out",
    "BOOT_FAIL": "its node did not start: run again; exclude keeps a node out",
    "PREEMPTED": "it made room for another job: run again",
    "DEADLINE": "it could not end before its deadline",
}
UNKNOWN = "no longer known to SLURM"


def plain(state: str) -> str:
    """Return a state without what SLURM adds to it.

    >>> [plain(text) for text in ("CANCELLED by 1000", "CANCELLED+", "running", "")]
    ['CANCELLED', 'CANCELLED', 'RUNNING', '?']
    """
    return (state.split() or ["?"])[0].rstrip("+").upper()


def has_ended(state: str) -> bool:
    """Return whether a job of the queue will not run any more.

    Any other state counts as alive, also one that a later version brings: no artefact
    may get two jobs. A job that is REVOKED here runs on another cluster of a
    federation.
    """
    return state in ENDED


def in_words(state: str) -> str:
    """Return a state, and what a user does about it."""
    return ": ".join(filter(None, (state, ENDED.get(state, ""))))
