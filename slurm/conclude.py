"""Conclude a study: make every ensemble that can be made, then check and report."""

from pathlib import Path

from pipeline.configs.study import Study
from pipeline.errors import StageFailed
from pipeline.runtime import file_system
from pipeline.stages import run_stage
from slurm.ledger import order_name, outcomes


def conclude(study: Study, root: Path) -> None:
    """Make the results whose predictions exist; if none is missing, check and report.

    Raises:
        StageFailed: predictions are missing; the message names the incomplete stages.
    """
    # a job that ended well has made its artefact, if this node does not see it yet
    file_system.wait_for(
        root / config.folder / config.last_file
        for config in study.stages
        if config.has_job
        and any(outcome.state == "done" for outcome in outcomes(root, order_name(config)))
    )
    missing = [config for config in study.stages if config.has_job and not config.is_complete(root)]
    for config in study.stages:
        if config.stage in ("ensemble", "compare") and all(
            source.is_complete(root) for source in config.inputs
        ):
            run_stage(config, root)
    if missing:
        names = ", ".join(f"{config.stage} {config.hash}" for config in missing)
        count = sum(
            config.stage == "ensemble" and config.is_complete(root) for config in study.stages
        )
        raise StageFailed(
            f"{study.name}: no verdict, as these are missing: {names}; {count} of its results could"
            " be made"
        )
    for config in study.stages:
        if config.stage in ("check", "report"):
            run_stage(config, root)
