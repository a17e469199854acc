"""Run the stages of a study on this machine, and show the results."""

import os
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pipeline.artefacts import sealing
from pipeline.configs.base import StageConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, is_of_file, of_file
from pipeline.runtime import file_system, fork_server, ranks
from pipeline.stages import module_of, run_stage

POLL_SECONDS = 0.5  # ours


def run_here(missing: Sequence[StageConfig], root: Path, processes: int | None) -> None:
    """Run stages one after the other. A stage that has ranks runs on several.

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
    for number, config in enumerate(missing, start=1):
        if is_first():
            print(
                f"[{number}/{len(missing)}] {config.stage} {root / config.folder}",
                file=sys.stderr,
                flush=True,
            )
        _run(config, root, processes)
    if is_first():
        print(f"{len(missing)} stages done in {time.monotonic() - started:.0f} s", file=sys.stderr)


def refuse_processes(missing: Sequence[StageConfig], processes: int | None) -> None:
    """Raise InputError if so many processes cannot share a batch of a training."""
    for config in missing:
        if processes is not None:
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
