"""Options of sbatch and srun: which key of a site file says one, and which the launcher
sets itself.
"""

from collections.abc import Mapping

# keys of a job's table that go to sbatch as they are, `_` becoming `-`
PLAIN_KEYS = (
    "partition",
    "account",
    "qos",
    "constraint",
    "nodelist",
    "reservation",
    "gres",
    "mem_per_cpu",
    "mem_per_gpu",
    "cpus_per_gpu",
    "exclusive",
    "licenses",
    "clusters",
    "mail_type",
    "mail_user",
    "nice",
    "comment",
    "wckey",
)
# the key of a site file, by option
KEYS = {
    **{key.replace("_", "-"): key for key in (*PLAIN_KEYS, "exclude", "gpus_per_node")},
    "nodes": "nodes",
    "ntasks-per-node": "tasks_per_node",
    "cpus-per-task": "cpus_per_task",
    "time": "timeout_min",
    "mem": "mem_gb",
    "array": "array",
    "signal": "signal_delay_s",
}
RANKS = "a job has nodes x tasks_per_node ranks"
GPUS = "gpus_per_node says it"
FILES = "the launcher names a job's files"
ORDER = "the launcher says which job waits for which"
AGAIN = "the launcher requeues jobs (max_timeouts, max_node_failures)"
VARIABLES = "[environment] has the variables of jobs"
ANSWER = "the launcher reads what sbatch answers"
CODE = "a job runs this package's own code"
IDENTITY = "jobs are yours"
# options that no site file may set, with the reason
REFUSED = {
    "dependency": ORDER,
    "kill-on-invalid-dep": ORDER,
    "job-name": "the launcher names jobs by their stage",
    "requeue": AGAIN,
    "no-requeue": AGAIN,
    "output": FILES,
    "error": FILES,
    "open-mode": FILES,
    "input": FILES,
    "chdir": "a job starts where it was submitted",
    "workdir": "a job starts where it was submitted",
    "wrap": CODE,
    "export": VARIABLES,
    "export-file": VARIABLES,
    "get-user-env": VARIABLES,
    "ntasks": RANKS,
    "tasks-per-node": RANKS,
    "ntasks-per-gpu": RANKS,
    "ntasks-per-core": RANKS,
    "ntasks-per-socket": RANKS,
    "gpus": GPUS,
    "gpus-per-task": GPUS,
    "gpus-per-socket": GPUS,
    "tres-per-task": GPUS,
    "parsable": ANSWER,
    "quiet": ANSWER,
    "test-only": ANSWER,
    "help": ANSWER,
    "usage": ANSWER,
    "version": ANSWER,
    "wait": "going-deeper run --wait waits",
    "jobid": "SLURM numbers jobs",
    "uid": IDENTITY,
    "gid": IDENTITY,
}
# the same for srun, which takes most from the job
SRUN_REFUSED = {
    **{name: f"the key {KEYS[name]} says it" for name in ("nodes", "ntasks-per-node", "time")},
    **{
        name: reason
        for name, reason in REFUSED.items()
        if reason in (ORDER, FILES, CODE, ANSWER, IDENTITY, RANKS) or name in ("chdir", "export")
    },
    "cpus-per-task": "the key cpus_per_task says it",
    "jobid": "a step belongs to its job",
    "multi-prog": CODE,
    "pty": CODE,
}


def refuse_option(name: str) -> None:
    """Raise ValueError if an option in a sub-table `sbatch` has a key of its own, or is
    the launcher's.

    sbatch takes the beginning of a name for the name, so that is refused too.

    >>> refuse_option("hint")
    >>> refuse_option("depend")
    Traceback (most recent call last):
    ValueError: dependency: the launcher says which job waits for which
    """
    _refuse(name, {option: f"the key {key} says it" for option, key in KEYS.items()} | REFUSED)


def refuse_srun_option(name: str) -> None:
    """Raise ValueError if an option of srun is the launcher's."""
    _refuse(name, SRUN_REFUSED)


def _refuse(name: str, refused: Mapping[str, str]) -> None:
    names = [name] if name in refused else [full for full in refused if full.startswith(name)]
    if names:
        raise ValueError(f"{names[0]}: {refused[names[0]]}")
