"""Run the missing stages of a study, here or on a site, and show the results: for the
commands `run` and `evaluate`.
"""

import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from pipeline.artefacts import locks, sealing
from pipeline.artefacts.soundness import damages, set_aside_damaged
from pipeline.artefacts.tidy import tidy
from pipeline.commands.local import (
    forget_report,
    is_first,
    is_rank,
    precisions_of,
    refuse_processes,
    refuse_stale,
    run_here,
    show,
)
from pipeline.configs.base import StageConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import FolderConfig, PrepareConfig
from pipeline.configs.study import STUDY_FILE, Study, note_of
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, StageFailed, of_file
from pipeline.runtime import device, disk
from pipeline.runtime.variables import refuse_contrary
from pipeline.sources.registry import open_source, refuse_other_files
from pipeline.tracking.agent import refuse_agent
from pipeline.tracking.alert import alerts
from slurm.launch import launch, refuse_ranks
from slurm.site import Site, load_site
from slurm.status import wait as await_study

FEW_IMAGES = 32  # ours: of a step, for one GPU


def run_missing(
    study: Study, root: Path, site: Path | None, processes: int | None, wait: bool = False
) -> None:
    """Run the missing stages of a study, or submit them, and show its table."""
    os.environ.setdefault("WANDB_RUN_GROUP", study.name)
    if site is not None and is_rank():
        raise InputError(f"--site {site}: the ranks have been started already; go without --site")
    place = None if site is None else load_site(site)  # refuse wrong input before any work
    set_aside_damaged(study, root, is_alone=not is_rank())
    refuse_wrong(study, root, place)
    if not is_rank() and study.is_complete(root) and _is_outdated(study, root):
        forget_report(study, root)
    missing = [config for config in study.stages if not config.is_complete(root)]
    if place is None:
        refuse_processes(study, missing, processes)
    _tidy(study, root)
    if is_first() and (missing or not (root / study.folder / STUDY_FILE).is_file()):
        _note(study, root)
    if missing and study not in missing:
        forget_report(study, root)
        missing.append(study)
    if not missing:
        print(f"nothing to do: all {len(study.stages)} stages of {study.name} are complete")
    elif place is not None:
        launch(study, missing, root, place)
        if wait and not await_study(study, root):
            raise StageFailed(f"{study.name}: not complete; see going-deeper status")
    else:
        with alerts(study, root) if is_first() else nullcontext():
            run_here(study, missing, root, processes)
    show(study, root)


def _note(study: Study, root: Path) -> None:
    """Note a study, so that the folder of its report stands for it.

    Raises:
        InputError: the file system of the root is not fit for artefacts.
        StageFailed: the disk is full or read-only.
    """
    path = root / study.folder / STUDY_FILE
    if locks.held_by(study.hash, root) is not None:
        return  # whoever makes the report has noted it
    try:
        with locks.lock(study, root):  # it refuses a disk without locks before any file
            disk.write_atomic(path, note_of(study))
    except OSError as error:
        raise of_file(error, path) from error


def show_name(study: Study, root: Path) -> None:
    """Print by what a study without an experiment file can be named."""
    if is_first():
        print(f"study: {root / study.folder}, which report, status and the like take as EXPERIMENT")


def refuse_wrong(study: Study, root: Path, place: Site | None, is_plan: bool = False) -> None:
    """Refuse what no stage could use: the user reads it here, not in a job's log.

    A plan needs no path of images yet, and compares no content of files.

    Raises:
        InputError: an input has been replaced since, a path of images is wrong, a
            variable contradicts a precision, or the ranks of a site cannot share a
            batch.
    """
    refuse_stale(study, root)
    missing = [config for config in study.stages if not config.is_complete(root)]
    for config in study.stages:
        if not isinstance(config, PrepareConfig):
            continue
        if config not in missing:
            refuse_other_files(config, root, compare_content=not is_plan)
        elif not is_plan or (isinstance(config, FolderConfig) and config.path is not None):
            open_source(config)
    _refuse_environment(missing, place)
    if place is not None:
        refuse_ranks(missing, place)


def without_path(study: Study, root: Path) -> list[PrepareConfig]:
    """Return the data sets still to be made for which no path is given yet."""
    return [
        config
        for config in study.stages
        if isinstance(config, FolderConfig) and config.path is None and not config.is_complete(root)
    ]


def few_images(study: Study, root: Path, place: Site) -> list[str]:
    """Return a sentence for each batch that gives a GPU of a site few images a step."""
    ranks = place.train.nodes * place.train.tasks_per_node
    batches = {
        config.global_batch_size
        for config in study.stages
        if isinstance(config, TrainConfig) and not config.is_complete(root)
    }
    return [
        f"{batch} images a step are {batch / ranks:g} for each of {ranks} GPUs: below"
        f" {FEW_IMAGES} most of its time goes into starting the work (table3 has --recipe"
        " large_batch)"
        for batch in sorted(batches)
        if place.train.num_gpus and batch < FEW_IMAGES * ranks
    ]


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
    """Refuse variables of a sweep agent, or that contradict the stages' precisions.

    Jobs inherit this environment, and add that of their site.
    """
    environment = {**os.environ, **(place.environment if place else {})}
    refuse_agent(environment)
    if precisions := precisions_of(missing):
        refuse_contrary(precisions, environment)
        if place is None and device.here().kind != "GPU":
            device.refuse_without_gpu(precisions)
            for config in missing:
                if isinstance(config, TrainConfig):
                    device.refuse_decoding_without_gpu(config.patches.decode_on, "core")
                elif isinstance(config, EvaluateConfig):
                    device.refuse_decoding_without_gpu(config.crops.decode_on, "core")
