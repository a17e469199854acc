"""The command that runs a study: run."""

from pathlib import Path

import click

from pipeline.commands.arguments import PROCESSES, SITE, study_command
from pipeline.commands.missing import run_missing
from pipeline.configs.study import Study


@study_command("going-deeper run caltech101 --data FOLDER --members 2")
@click.option(
    "--site", type=SITE, help="Site file or name: run the stages as jobs there.  [default: here]"
)
@click.option(
    "--wait", is_flag=True, help="With --site: print what happens until the study is done."
)
@PROCESSES
def run(
    study: Study,
    root: Path,
    site: Path | None,
    wait: bool,
    processes: int | None,
) -> None:
    """Run the missing stages of a study, here or as jobs of a site. An interrupted run
    goes on where it stopped.
    """
    run_missing(study, root, site, processes, wait)
