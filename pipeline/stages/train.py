"""Stage: a data set -> one trained network, its metrics, and its averaged weights.

Randomness has no state: the order of images, their patches and dropout are functions of
the seeds and the step. A run that resumes at any step goes on with the same bits, and a
checkpoint holds no random state.
"""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from pipeline.artefacts import locks, provenance
from pipeline.artefacts.contents import MachineFacts, RunFacts, Validation
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.run import Run, Weights
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, StageFailed, present
from pipeline.images.decode import BadImage
from pipeline.images.patches import area_library
from pipeline.paper.published import TABLE3, Cell
from pipeline.runtime import environment, process_group
from pipeline.runtime.device import refuse_decoding_without_gpu
from pipeline.runtime.progress import Progress
from pipeline.runtime.signals import end_noted
from pipeline.stages.comparable import as_the_papers, of_images, of_training_images
from pipeline.tracking.tracker import Tracker
from pipeline.training.cadence import Cadence
from pipeline.training.checkpointing import Checkpointing, load_newest, load_state
from pipeline.training.learner import Learner
from pipeline.training.loader import expect_loaders, training_batches
from pipeline.training.metrics_log import MetricsLog
from pipeline.training.validation import validate


def train(config: TrainConfig, root: Path) -> Run:
    """Train as the config says, on all ranks of the environment.

    Training resumes from the newest whole checkpoint. The first rank obeys SIGTERM and
    SIGUSR2 between two steps, after it has saved a checkpoint.

    Raises:
        InputError: a variable of the environment contradicts the config, the ranks
            cannot share the global batch equally, another process trains this run, the
            data set is no longer the one that the run began with, or one of its images
            is damaged.
        TrainingDiverged: the loss became NaN or infinite.
        StageFailed: a newer attempt took over, or the GPU's memory is too small.
    """
    run = Run(config, root)
    if config.is_complete(root):
        return run
    accelerator = process_group.join(config.precision)
    refuse_decoding_without_gpu(config.patches.decode_on, accelerator.device.type)
    config.refuse_ranks(accelerator.num_processes)
    with (
        locks.lock(config, root, fences=True) if accelerator.is_main_process else nullcontext(),
        said_in_a_line(config, root),
    ):
        _train(config, run, Dataset(config.data, root), accelerator)
    accelerator.wait_for_everyone()
    return run


@contextmanager
def said_in_a_line(config: TrainConfig, root: Path) -> Iterator[None]:
    """Turn errors that a user can mend into one line.

    These are a GPU that is too small, and an image that was damaged after its
    preparation. A loader's process puts its traceback before the message of the latter.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        message = str(error).splitlines()[0]
        raise StageFailed(
            f"{root / config.folder}: {message} Set max_device_batch_size, or more ranks"
        ) from None
    except BadImage as problem:
        message = str(problem).strip().splitlines()[-1].rpartition("BadImage: ")[2]
        raise InputError(
            f"{root / config.data.folder}: {message}; remove it to prepare the data again"
        ) from None


def _train(config: TrainConfig, run: Run, data: Dataset, accelerator: Accelerator) -> None:
    images, validation = data.split("train"), data.split("val")
    main, world_size = accelerator.is_main_process, accelerator.num_processes
    cadence = Cadence(config, len(images))
    expect_loaders(accelerator.device)
    learner = Learner(config, data.num_classes, accelerator)
    log = MetricsLog(run, cadence, images, data.num_classes, writes=main)
    machine = _machine(learner, accelerator)
    if main:
        run.claim(machine, data.manifest.digest)
    state = load_newest(
        broadcast_object_list([run.checkpoints.newest() if main else None])[0], run, data, learner
    )
    first = state["step"] if state else 0
    if main and learner.beginning and not first:
        print(f"train {config.hash[:8]}: {learner.beginning}", file=sys.stderr, flush=True)
    if main:
        run.rewind_metrics(first, state["journal"].get("metrics") if state else None)
    checkpointing = Checkpointing(run, cadence, learner, log, data) if main else None
    steps = range(first, cadence.num_steps)
    batches = training_batches(
        config,
        images,
        steps,
        accelerator.process_index,
        world_size,
        num_workers=environment.cores_per_rank() - 1,
        device=accelerator.device,
    )
    errors: Validation | None = None
    with (
        Progress(
            f"train {config.hash[:8]}",
            cadence.num_steps,
            "steps",
            done=first,
            silent=not main,
        ) as progress,
        Tracker(config, run.root, main, first, _published(config, data)) as tracker,
        closing(batches),
        end_noted(saves=main) as notice,
        checkpointing or nullcontext(),
    ):
        log.begin(state, world_size, progress)
        for step, batch in zip(
            map(cadence.step, range(steps.start + 1, steps.stop + 1)),
            log.timed(batches),
            strict=True,
        ):
            log.add(learner.step(step, batch))
            if cadence.closes_window(step.number):
                log.close_window(step.number, step.rate)
            elif cadence.checks_at(step.number):
                log.refuse_divergence(step.number)
            error = None
            if cadence.validates_at(step.number):
                errors = validate(learner, validation)
                error = errors.top1_error_averaged
                log.record_validation(step.number, errors)
            if checkpointing and step.settles:
                checkpointing.after(step.number, error, notice, tracker)
            progress.advance(note=log.note)
        if checkpointing:
            checkpointing.wait(tracker)
            errors = present(errors, "the validation after the last step")
            last_is_best = checkpointing.is_lowest(errors.top1_error_averaged)
            best = None if last_is_best else _best(run)
            seconds = log.seconds()
            facts = RunFacts(
                **dict(machine),
                steps=cadence.num_steps,
                seconds=seconds,
                attempts=run.attempt,
                core_or_gpu_hours=round(seconds * world_size / 3600, 4),
                num_parameters=sum(p.numel() for p in learner.network.parameters()),
                validation=errors,
                best_step=best.step if best else cadence.num_steps,
                elsewhere=run.elsewhere(),
            )
            tracker.conclude(_figures(facts))
            _finish(run, data, learner, best, facts)


def _published(config: TrainConfig, data: Dataset) -> float | None:
    """Return the paper's error for this training, where it can be compared."""
    split = data.split("val")
    images = of_images(
        config.data.name,
        data.manifest.source_md5,
        split.image_ids,
        split.labels,
        data.classes,
        data.manifest.bytes_of_splits,
    )
    training = of_training_images(config.data.name, data.manifest)
    member = EvaluateConfig(data=config.data, classifier=config)
    return None if as_the_papers([member], images, training).obstacle else TABLE3[Cell(1, 1)]


def _figures(facts: RunFacts) -> dict[str, float | None]:
    """Return the figures of a training that W&B shows."""
    return {
        "seconds": facts.seconds,
        "core_or_gpu_hours": facts.core_or_gpu_hours,
        "num_parameters": facts.num_parameters,
        "attempts": facts.attempts,
        **facts.validation.plain(),
    }


def _machine(learner: Learner, accelerator: Accelerator) -> MachineFacts:
    return MachineFacts(
        world_size=accelerator.num_processes,
        device=str(accelerator.device),
        hardware=process_group.hardware(accelerator),
        operators=learner.has_operators,
        area_by_library=not isinstance(area_library(), str),
    )


class _Best(NamedTuple):
    """The averaged weights at the lowest validation error, and their step."""

    step: int
    weights: dict[str, Tensor]


def _best(run: Run) -> _Best | None:
    """Return the best weights of the checkpoints; None where none was validated."""
    if (folder := run.checkpoints.best()) is None:
        return None
    state = load_state(folder)
    average: dict[str, Tensor] = state["learner"]["average"]
    weights = {
        name.removeprefix("module."): value
        for name, value in average.items()
        if name.startswith("module.")
    }
    return _Best(state["step"], weights)


def _finish(run: Run, data: Dataset, learner: Learner, best: _Best | None, facts: RunFacts) -> None:
    # imported here: only the first rank needs scipy and jinja2, and only at the end
    from pipeline.reporting.model_card import model_card

    averaged = learner.average.module.state_dict()
    weights: dict[Weights, dict[str, Tensor]] = {
        "averaged": averaged,
        "raw": learner.network.state_dict(),
        "best": best.weights if best else averaged,
    }
    num_images = data.manifest.num_images["val"]
    counts = [round(facts.validation.error(top, "averaged") * num_images) for top in (1, 5)]
    misses = {"crops_1": counts}
    card = model_card(run.config, "averaged", data, facts, provenance.collect(), misses)
    run.finish(weights, facts, card)
