"""The parameters of a batch script, from a site, a root and a name."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.runtime.environment import is_secret
from slurm.site import Resources, Site

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
) -> dict[str, Any]:
    """Return submitit's parameters for a job.

    The job starts when the jobs `after` have succeeded and the jobs `after_any` have
    ended.

    >>> site = Site(cluster="slurm")
    >>> options = parameters("train-1", Resources(), site, ["41", "42"], ["43"])
    >>> options["slurm_additional_parameters"]["dependency"]
    'afterok:41:42,afterany:43'
    """
    if not NAME.fullmatch(name):
        raise InputError(f"{name!r}: cannot name a job; expected letters, digits and ._- only")
    options: dict[str, Any] = {
        "name": name[:64],
        **resources.model_dump(exclude_none=True, exclude={"array"}),
    }
    if not resources.gpus_per_node:
        del options["gpus_per_node"]
    if site.cluster == "local":
        return options
    for key in (
        "slurm_partition",
        "slurm_account",
        "slurm_qos",
        "slurm_constraint",
        "slurm_exclude",
    ):
        if (value := getattr(site, key)) is not None:
            options[key] = value
    for name in SETTING.findall("\n".join(site.slurm_setup)):
        if is_secret(name):
            raise InputError(
                f"slurm_setup: sets {name}, which the batch script would show; export it before you"
                f' submit, as SLURM passes it on, or have the line read it: {name}="$(cat FILE)"'
            )
    if site.slurm_setup:
        options["slurm_setup"] = ["set -eE -o pipefail", *site.slurm_setup]
    conditions = [
        f"{kind}:{':'.join(jobs)}"
        for kind, jobs in (("afterok", after), ("afterany", after_any))
        if jobs
    ]
    more: dict[str, Any] = {"requeue": True}
    if conditions:
        more |= {"dependency": ",".join(conditions), "kill-on-invalid-dep": "yes"}
    return {
        **options,
        # since SLURM 22.05 srun does not inherit this option from sbatch
        "slurm_srun_args": [f"--cpus-per-task={resources.cpus_per_task}"],
        "slurm_array_parallelism": site.slurm_array_parallelism,
        "slurm_signal_delay_s": site.slurm_signal_delay_s,
        "slurm_additional_parameters": more,
    }
