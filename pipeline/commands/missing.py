"""Run the missing stages of a study, here or on a site, and show the results: for the
commands `run` and `evaluate`.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.artefacts import sealing
from pipeline.artefacts.soundness import damages, set_aside_damaged
from pipeline.artefacts.tidy import tidy
from pipeline.commands.local import (
    forget_report,
    is_first,
    is_rank,
    precisions_of,
    refuse_stale,
    run_here,
    show,
)
from pipeline.configs.base import StageConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import Study
from pipeline.errors import InputError, StageFailed
from pipeline.runtime import device
from pipeline.runtime.variables import refuse_contrary
from pipeline.sources.registry import open_source, refuse_other_files
from slurm.launch import launch
from slurm.site import Site, load_site
from slurm.status import wait as await_study


def run_missing(
    study: Study, root: Path, site: Path | None, processes: int | None, wait: bool = False
) -> None:
    """Run the missing stages of a study, or submit them, and show its table."""
    os.environ.setdefault("WANDB_RUN_GROUP", study.name)
    if site is not None and is_rank():
        raise InputError(f"--site {site}: the ranks have been started already; go without --site")
    place = None if site is None else load_site(site)  # refuse wrong input before any work
    set_aside_damaged(study, root, is_alone=not is_rank())
    refuse_stale(study, root)
    _refuse_other_data(study, root)
    if not is_rank() and study.is_complete(root) and _is_outdated(study, root):
        forget_report(study, root)
    missing = [config for config in study.stages if not config.is_complete(root)]
    _tidy(study, root)
    _refuse_environment(missing, place)
    if missing and study not in missing:
        forget_report(study, root)
        missing.append(study)
    for config in missing:
        if isinstance(config, PrepareConfig):
            open_source(config)  # refuse a wrong path here, not in a job's log
    if not missing:
        print(f"nothing to do: all {len(study.stages)} stages of {study.name} are complete")
    elif place is not None:
        launch(study, missing, root, place)
        if wait and not await_study(study, root):
            raise StageFailed(f"{study.name}: not complete; see going-deeper status")
    else:
        run_here(missing, root, processes)
    show(study, root)


def _refuse_other_data(study: Study, root: Path) -> None:
    for config in study.stages:
        if isinstance(config, PrepareConfig) and config.is_complete(root):
            refuse_other_files(config, root)


def _is_outdated(study: Study, root: Path) -> bool:
    """Return whether a report is damaged, or its verdicts or arms were made again."""
    try:
        sealing.unseal(study, root)
    except InputError:
        return True
    return bool(damages(study, root))


def _tidy(study: Study, root: Path) -> None:
    """Remove what killed commands left of complete artefacts."""
    for config in study.stages if is_first() else ():
        if config.is_complete(root):
            tidy(config, root)


def _refuse_environment(missing: Sequence[StageConfig], place: Site | None) -> None:
    """Refuse variables that contradict the precisions of the stages.

    The user reads it here, not in the log of a rank or of a job. Jobs inherit this
    environment, and add that of their site.
    """
    if precisions := precisions_of(missing):
        refuse_contrary(precisions, {**os.environ, **(place.environment if place else {})})
        if place is None and device.here().kind != "GPU":
            device.refuse_without_gpu(precisions)
