"""Run the stages of a study on this machine, and show the results."""

import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.artefacts import sealing
from pipeline.configs.base import StageConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, is_of_file, of_file
from pipeline.runtime import file_system, fork_server, ranks, side_by_side
from pipeline.stages import module_of, run_stage

POLL_SECONDS = 0.5  # ours


def run_here(
    study: Study, missing: Sequence[StageConfig], root: Path, processes: int | None
) -> None:
    """Run stages one after the other. A stage that has ranks runs on several; trainings
    run side by side where that is faster.

    Where torchrun or the like has started the ranks, this process is one of them. All
    ranks share the stages that have ranks; the first rank runs the others.

    Raises:
        ExpectedError: a stage raised it; StageFailed also where a file could not be
            read or written.
        Bug: a rank raised anything else.
    """
    started = time.monotonic()
    if is_rank() and missing:
        # every rank lists the missing stages before any rank makes one
        _wait_for_ranks(precisions_of(missing))
    elif shared := sorted({config.stage for config in missing if config.has_ranks}):
        fork_server.forks(*map(module_of, shared))  # imports them while the data is prepared
    number = 0
    for batch in _side_by_side(missing):
        for config in batch:
            number += 1
            if is_first():
                print(
                    f"[{number}/{len(missing)}] {config.stage} {root / config.folder}",
                    file=sys.stderr,
                    flush=True,
                )
        trainings = [config for config in batch if isinstance(config, TrainConfig)]
        if trainings and not is_rank():
            _train(study, trainings, root, processes)
        else:
            _run(batch[0], root, processes)
    if is_first():
        print(f"{len(missing)} stages done in {time.monotonic() - started:.0f} s", file=sys.stderr)


def _side_by_side(missing: Sequence[StageConfig]) -> list[list[StageConfig]]:
    """Return the stages in batches, data first and trainings next; only trainings that
    need none of each other have others beside them.
    """
    batches: list[list[StageConfig]] = []
    for config in sorted(missing, key=_position):
        before = batches[-1] if batches and not is_rank() else []
        are_trainings = all(isinstance(each, TrainConfig) for each in (config, *before))
        if before and are_trainings and not set(config.inputs) & set(before):
            before.append(config)
        else:
            batches.append([config])
    return batches


def _position(config: StageConfig) -> int:
    kinds = (PrepareConfig, TrainConfig, StageConfig)
    return next(place for place, kind in enumerate(kinds) if isinstance(config, kind))


def _train(study: Study, batch: Sequence[TrainConfig], root: Path, processes: int | None) -> None:
    """Train side by side. How many ranks each has depends on the whole study, so that
    one which goes on has as many as before.
    """
    available = processes or ranks.num_local()
    by_ranks: dict[int, list[Callable[[], object]]] = {}
    for config in batch:
        each = ranks_of(config, study, available)
        by_ranks.setdefault(each, []).append(partial(_stage, config, root))
    for each, works in by_ranks.items():
        side_by_side.run(works, each, available)


def ranks_of(training: TrainConfig, study: Study, available: int) -> int:
    """Return how many of the available ranks a training of a study gets.

    On GPUs it gets all that can share it, as one alone does: its batch may fill their
    memories together.
    """
    valid = training.ranks_up_to(available)
    trainings = [config for config in study.stages if isinstance(config, TrainConfig)]
    alike = sum(config.ranks_up_to(available) == valid for config in trainings)
    if alike > 1 and ranks.num_gpus():
        alike = 1
    return side_by_side.fastest_ranks(alike, available, valid)


def refuse_processes(study: Study, missing: Sequence[StageConfig], processes: int | None) -> None:
    """Raise InputError if so many processes cannot share a batch of a training.

    Several trainings share the processes; a batch need not.
    """
    if processes is None:
        return
    are_several = sum(isinstance(config, TrainConfig) for config in study.stages) > 1
    for config in missing:
        fits = isinstance(config, TrainConfig) and min(config.ranks_up_to(processes)) <= processes
        if not (are_several and fits):
            num_ranks(config, processes, processes)


def _stage(config: StageConfig, root: Path, **resources: Any) -> None:
    """Run a stage. A failure with a file becomes one line for the user."""
    try:
        run_stage(config, root, **resources)
    except OSError as error:
        if not is_of_file(error):
            raise
        raise of_file(error, root / config.folder) from error


def _run(config: StageConfig, root: Path, processes: int | None) -> None:
    if is_rank():
        while not (is_first() or config.has_ranks or config.is_complete(root)):
            time.sleep(POLL_SECONDS)  # a barrier would give up on a long preparation
        _stage(config, root)
        # this rank may be on another host than the first, and the next stage needs it
        file_system.wait_for([root / config.folder / config.last_file])
    elif config.has_ranks:
        ranks.launch(
            _stage, num_ranks(config, processes, processes or ranks.num_local()), config, root
        )
    elif isinstance(config, PrepareConfig):
        _stage(config, root, processes=processes)
    else:
        _stage(config, root)


def is_rank() -> bool:
    """Whether the environment says that this process is one of several ranks
    (torchrun's variables).
    """
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()


def is_first() -> bool:
    """Whether this process is the first rank, or alone."""
    return not is_rank() or os.environ["RANK"] == "0"


def _wait_for_ranks(precisions: Collection[str]) -> None:
    from pipeline.runtime import process_group  # late: the launcher of ranks needs no torch

    process_group.join(*precisions).wait_for_everyone()


def precisions_of(stages: Sequence[StageConfig]) -> set[str]:
    """Return the precisions in which stages compute."""
    return {
        config.precision for config in stages if isinstance(config, TrainConfig | EvaluateConfig)
    }


def num_ranks(config: StageConfig, wanted: int | None, available: int) -> int:
    """Return the number of ranks for a stage on this machine.

    The ranks of a training share its global batch equally. The default is the largest
    number that can.

    Raises:
        InputError: the `wanted` ranks cannot share the batch equally.
    """
    if not isinstance(config, TrainConfig):
        return wanted or available
    valid = config.ranks_up_to(max(wanted or 0, available))
    if wanted not in (None, *valid):
        shown = ", ".join(map(str, valid))
        raise InputError(
            f"--processes {wanted}: a global_batch_size of {config.global_batch_size} can be shared"
            f" equally by {shown} ranks{' (local_sgd.workers)' if config.local_sgd else ''}"
        )
    return wanted or max(valid)


def refuse_stale(study: Study, root: Path) -> None:
    """Refuse artefacts whose inputs have been replaced since.

    Raises:
        InputError: there are such artefacts; the message names them all.
    """
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: is a file; --root takes a folder")
    problems = []
    for config in study.stages[:-1]:
        if config.is_complete(root):
            try:
                sealing.unseal(config, root)
            except InputError as error:
                problems.append((root / config.folder, str(error)))
    if problems:
        folders = " ".join(str(folder) for folder, _ in problems)
        raise InputError(f"{problems[0][1]}; in all, these cannot be used as they are: {folders}")


def forget_report(study: Study, root: Path) -> None:
    """Remove the seal of the report, so that it is made again.

    That is quick, and its inputs may be newer than the report.
    """
    (root / study.folder / study.last_file).unlink(missing_ok=True)


def show(study: Study, root: Path) -> None:
    """Print the table of a complete study, and where its report lies."""
    if study.is_complete(root) and is_first():
        print(sealing.REPORT.unseal(study, root).summary)
        print(f"report: {root / study.folder / 'report.html'}")
