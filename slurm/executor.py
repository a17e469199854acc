"""What submits jobs: submitit's executor of a site."""

from pathlib import Path

import submitit

from slurm.site import Site


def executor(folder: Path, site: Site, python: str) -> submitit.Executor:
    """Return submitit's executor of a site, whose jobs have their files in a folder.

    It is not AutoExecutor, which would set a workload key that nobody asked for.
    """
    if site.cluster == "local":
        return submitit.LocalExecutor(folder, python=python)
    return submitit.SlurmExecutor(folder, max_num_timeout=site.max_timeouts, python=python)
