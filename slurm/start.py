"""Carry out what was submitted: `python -m slurm.start JOBS`, as submitit's own main.

submitit reads a pickle, and a pickle can call any function. This one may name our jobs
and nothing else, and holds only strings.
"""

import pickle
import sys
from pathlib import Path
from typing import Any, NoReturn

from submitit.core import submission
from submitit.core.utils import DelayedSubmission

NAMES = {
    ("submitit.core.utils", "DelayedSubmission"),
    ("slurm.job", "OrderedJob"),
    ("slurm.errand", "Errand"),
}


class Strings(pickle.Unpickler):
    """Reads a pickle of our jobs; any other name in it is refused."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of our jobs.

        Raises:
            UnpicklingError: the pickle names something else.
        """
        if (module, name) not in NAMES:
            raise pickle.UnpicklingError(f"names {module}.{name}")
        return super().find_class(module, name)


def load(path: str | Path) -> DelayedSubmission:
    """Return the job in a pickle; end the process if it holds anything else."""
    try:
        with Path(path).open("rb") as file:
            job = Strings(file).load()
    # a damaged pickle raises nearly any error
    except Exception as error:
        _refuse(path, str(error) or type(error).__name__)
    if type(job) is not DelayedSubmission:
        _refuse(path, f"holds a {type(job).__name__}")
    return job


def _refuse(path: str | Path, why: str) -> NoReturn:
    sys.exit(f"going-deeper: {path}: is no job of ours: {why}; nothing was run; submit again")


def main(jobs: str) -> None:
    """Carry out the job that the environment describes, from its pickle in `jobs`."""
    # submitit reads by it
    DelayedSubmission.load = load  # type: ignore[method-assign, assignment]
    submission.process_job(jobs)


if __name__ == "__main__":
    main(sys.argv[1])
