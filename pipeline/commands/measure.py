"""The commands that measure and write nothing: audit, find-rate."""

from pathlib import Path

import click

from pipeline.commands.arguments import MOST, study_command
from pipeline.commands.local import is_rank
from pipeline.configs.study import Study
from pipeline.errors import InputError


@click.command(epilog="Example: going-deeper audit --json")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def audit(as_json: bool) -> None:
    """Count Table 1 again, row by row: printed, counted, explained; and Table 3's
    arithmetic.
    """
    from pipeline.tools.audit import audit_json, audit_text

    print(audit_json() if as_json else audit_text())


@study_command("going-deeper find-rate demo")
@click.option(
    "--member", type=int, default=0, show_default=True, help="Which member of the study, from 0."
)
@click.option(
    "--steps",
    type=click.IntRange(2, MOST),
    default=30,
    show_default=True,
    help="Rates from the lowest to the highest.",
)
@click.option(
    "--batches",
    type=click.IntRange(1, MOST),
    default=4,
    show_default=True,
    help="Steps at each rate, whose mean loss counts.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def find_rate(
    study: Study,
    root: Path,
    member: int,
    steps: int,
    batches: int,
    as_json: bool,
) -> None:
    """Try a member's training at a rate that grows at every step, on one process: where
    the loss falls, where it diverges.

    Prepares the data if need be; writes nothing else.
    """
    from pipeline.stages.prepare import prepare
    from pipeline.tools import find_rate as stage

    if is_rank():
        raise InputError("find-rate runs on one process; go without torchrun")
    run = study.trained_member(member)
    prepare(run.data, root)
    test = stage.find_rate(run, root, steps, batches)
    print(test.as_json() if as_json else test.text())
