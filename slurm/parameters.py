"""The parameters of a batch script, from a site, a root and a name, for submitit."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.runtime.environment import is_secret
from slurm.options import PLAIN_KEYS
from slurm.resources import Resources
from slurm.site import Site

SETTING = re.compile(r"""\b([A-Za-z_][A-Za-z0-9_]*)=["']*(?![\s"'$`]|$)""")
NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
SAFE_PATH = re.compile(r"[A-Za-z0-9._/+-]+")


def safe(root: Path) -> Path:
    """Return the root if its path is safe in a batch script.

    Raises:
        InputError: the path has a character with a meaning there.
    """
    if not SAFE_PATH.fullmatch(str(root)):
        raise InputError(
            f"--root {str(root)!r}: its path goes into batch scripts; expected only letters, digits"
            " and ._/+-"
        )
    return root


def parameters(
    name: str,
    resources: Resources,
    site: Site,
    after: Sequence[str] = (),
    after_any: Sequence[str] = (),
    without: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the parameters of submitit's executor for a job.

    The job starts when the jobs `after` have succeeded and the jobs `after_any` have
    ended. It gets none of the nodes `without`.

    >>> site = Site(cluster="slurm")
    >>> options = parameters("train-1", Resources(), site, ["41", "42"], ["43"])
    >>> options["additional_parameters"]["dependency"]
    'afterok:41:42,afterany:43'
    """
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r}: cannot name a job; expected letters, digits and ._- only")
    if site.cluster == "local":
        return {
            "timeout_min": resources.timeout_min,
            "tasks_per_node": resources.tasks_per_node,
            "gpus_per_node": resources.num_gpus,
        }
    _refuse_secrets(resources, site)
    # since SLURM 22.05 srun does not inherit this option from sbatch
    cores = f"--cpus-per-task={resources.num_cores}"
    return {
        "job_name": name[:64],
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks_per_node,
        "cpus_per_task": None if resources.cpus_per_gpu else resources.cpus_per_task,
        "mem": None if resources.mem_gb is None else _memory(resources.mem_gb),
        "time": resources.timeout_min,
        "setup": ["set -eE -o pipefail", *resources.setup] if resources.setup else None,
        "srun_args": [cores, *resources.srun],
        "array_parallelism": site.array_parallelism,
        "signal_delay_s": site.signal_delay_s,
        "wckey": None,  # submitit's own is refused where wckeys are enforced
        "additional_parameters": _options(resources, after, after_any, without),
    }


def _options(
    resources: Resources, after: Sequence[str], after_any: Sequence[str], without: Sequence[str]
) -> dict[str, Any]:
    """Return the options of sbatch that submitit writes as they are."""
    keys = {key: getattr(resources, key) for key in PLAIN_KEYS}
    keys["exclude"] = ",".join(filter(None, (resources.exclude, *without)))
    if resources.ask_for_gpus:
        keys["gpus_per_node"] = resources.gpus_per_node or None
    options = {key.replace("_", "-"): value for key, value in keys.items()} | resources.sbatch
    options = {
        name: value
        for name, value in options.items()
        if not (value is None or value is False or value == "")
    }
    conditions = [
        f"{kind}:{':'.join(jobs)}"
        for kind, jobs in (("afterok", after), ("afterany", after_any))
        if jobs
    ]
    if conditions:
        options |= {"dependency": ",".join(conditions), "kill-on-invalid-dep": "yes"}
    return {"requeue": True, **options}


def _memory(gigabytes: float) -> str:
    """Return memory as sbatch takes it; it knows no fractions.

    >>> _memory(2), _memory(0.5), _memory(0)
    ('2G', '512M', '0')
    """
    if gigabytes != int(gigabytes):
        return f"{math.ceil(gigabytes * 1024)}M"
    return f"{int(gigabytes)}G" if gigabytes else "0"


def shows_secret(text: str) -> bool:
    """Return whether a text sets a secret to a value that can be read in it."""
    return any(map(is_secret, SETTING.findall(text)))


def _refuse_secrets(resources: Resources, site: Site) -> None:
    """Raise InputError if the batch script would show a secret."""
    texts = {
        "setup": resources.setup,
        "srun": resources.srun,
        "python": (site.python or "",),
        "sbatch": [f"{name}={value}" for name, value in resources.sbatch.items()],
        "comment": (resources.comment or "",),
    }
    for key, lines in texts.items():
        for name in SETTING.findall("\n".join(lines)):
            if is_secret(name):
                raise InputError(
                    f"{key}: sets {name}, which the batch script would show; export it before you"
                    f' submit, as SLURM passes it on, or have the line read it: {name}="$(cat'
                    ' FILE)"'
                )
