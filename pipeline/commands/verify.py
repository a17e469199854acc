"""The command that checks every byte of what was made."""

import sys
from pathlib import Path

from pipeline.commands.arguments import study_command
from pipeline.configs.study import Study
from pipeline.errors import InputError


@study_command("going-deeper verify demo", needs_experiment=False)
def verify(study: Study | None, root: Path) -> None:
    """Compare every file of a study, or of a root, with the digest that it was sealed
    with.

    Images, weights, scores, hits and verdicts, to the bottom. It says what is damaged,
    and how it is made again; the exit code is then 3.
    """
    from pipeline.tools import verify as verification

    count, problems = 0, 0
    for checked in verification.verify(root, study):
        count += 1
        problems += len(checked.problems)
        for problem in checked.problems:
            print(problem)
    if not count:
        raise InputError(
            f"{root}: no complete artefact {'of this study with these options ' if study else ''}is"
            " there; give the options of its run, or another --root"
        )
    print(f"{count} artefacts checked, {problems or 'no'} problem{'s' * (problems != 1)}")
    if problems:
        sys.exit(3)
