"""The environment of SLURM's commands: that of a login node, even inside a job.

A job's own variables would become options of the jobs that it submits. For sbatch they
even win over its script.
"""

import os
from collections.abc import Collection, Mapping

PREFIXES = (
    *("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SALLOC_", "_SLURM_"),
    *("SQUEUE_", "SACCT_", "SINFO_", "SCANCEL_", "SCONTROL_"),
)
# where the controller is, and who we are
KEPT = {"SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_SACK_KEY", "SLURM_SACK_JWKS"}
# the devices of the job that submits
DEVICES = {
    *("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
    *("GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK"),
}
ACCOUNT = "SBATCH_ACCOUNT"  # centres advise their users to set it for good


def of_login_node(
    variables: Mapping[str, str] = os.environ, also: Collection[str] = ()
) -> dict[str, str]:
    """Return the variables without those that a job or a user set for SLURM's commands.

    Those of `also` stay.

    >>> job = {"SLURM_JOB_ID": "7", "SLURM_MEM_PER_CPU": "9", "SLURM_CONF": "/conf"}
    >>> of_login_node({**job, "CUDA_VISIBLE_DEVICES": "0", "HOME": "/root"})
    {'SLURM_CONF': '/conf', 'HOME': '/root'}
    """
    kept = KEPT.union(also)
    lost = DEVICES if "SLURM_JOB_ID" in variables else set()
    return {
        name: value
        for name, value in variables.items()
        if name in kept or not (name.startswith(PREFIXES) or name in lost)
    }


def set_aside() -> list[str]:
    """Return the variables of the user that would have overridden the site file."""
    if "SLURM_JOB_ID" in os.environ:
        return []  # they are the job's
    return sorted(name for name in os.environ if name.startswith("SBATCH_") and name != ACCOUNT)
