"""Stage: a data set -> one trained network, its metrics, and its averaged weights.

Randomness is stateless: which image comes when, how it is cut and what dropout drops are functions of the seeds and the
step. So a run resumed at any step goes on with the same bits, and a checkpoint holds no random state.
"""

import math
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from pipeline.artefacts import checkpoints, locks, provenance
from pipeline.artefacts.dataset import Dataset, Split
from pipeline.artefacts.run import Run, Weights
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, StageFailed, TrainingDiverged
from pipeline.images.decode import BadImage
from pipeline.images.patches import area_library
from pipeline.models.classify import rank_of_labels
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.paper import schedule
from pipeline.paper.googlenet import PREPROCESSING, GoogLeNet
from pipeline.runtime import environment, process_group
from pipeline.runtime.progress import Progress
from pipeline.runtime.signals import end_noted
from pipeline.tracking.tracker import Tracker
from pipeline.training.learner import Learner
from pipeline.training.loader import keys, training_batches
from pipeline.training.metrics_log import Journal

WINDOW = 20  # ours: steps a row of metrics


def train(config: TrainConfig, root: Path) -> Run:
    """Train as the config says, on all ranks of the environment; resume from the newest whole checkpoint.

    SIGTERM and SIGUSR2 to the first rank are obeyed between two steps, after a save.

    Raises:
        InputError: the ranks cannot share the global batch equally, another process trains this run, the data set is no longer
            the one that the run began with, or an image of it is damaged.
        TrainingDiverged: the loss became NaN or infinite.
        StageFailed: a newer attempt took over, or the GPU's memory is too small.
    """
    run = Run(config, root)
    if config.is_complete(root):
        return run
    accelerator = process_group.join()
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
    """What a user can expect: a GPU that is too small; an image that was whole when it was prepared, and is damaged now, of
    which a loader's process says its traceback first."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        said = str(error).splitlines()[0]
        raise StageFailed(f"{root / config.folder}: {said} Set max_device_batch_size, or more ranks") from None
    except BadImage as problem:
        said = str(problem).strip().splitlines()[-1].rpartition("BadImage: ")[2]
        raise InputError(f"{root / config.data.folder}: {said}; remove it to prepare the data again") from None


def _train(config: TrainConfig, run: Run, data: Dataset, accelerator: Accelerator) -> None:
    learner = Learner(config, data.num_classes, accelerator)
    images, validation = data.split("train"), data.split("val")
    num_steps = schedule.total_steps(len(images), config.num_epochs, config.global_batch_size)
    main, world_size = accelerator.is_main_process, accelerator.num_processes
    journal = Journal(run, images.labels, data.num_classes, writes=main)
    machine = {
        "world_size": world_size,
        "device": str(accelerator.device),
        "operators": learner.has_operators,
        "area_by_library": not isinstance(area_library(), str),
    }

    if main:
        run.claim({**machine, "data_digest": data.manifest["digest"]})
    saved, lowest = _resume(run, data, learner, main)
    first_step: int = saved["step"]
    batches = training_batches(
        config,
        images,
        range(first_step, num_steps),
        accelerator.process_index,
        world_size,
        num_workers=environment.cores_per_rank() - 1,
        pin_memory=accelerator.device.type == "cuda",
    )

    def validates_at(step: int) -> bool:
        every = config.validate_every_epochs
        before, now = (math.floor(journal.epoch_at(k) / every + 1e-9) for k in (step - 1, step))
        return step == num_steps or now > before

    def save_is_due(step: int) -> bool:
        every = config.checkpoint_every_steps
        is_old = time.monotonic() - saved_at >= config.checkpoint_every_seconds
        return is_old or (every is not None and step % every == 0)

    with (
        Progress(f"train {config.hash[:8]}", num_steps, "steps", done=first_step, silent=not main) as progress,
        Tracker(config, run.root, active=main) as tracker,
        closing(batches),
        end_noted(saves=main) as notice,
    ):
        journal.begin(first_step, saved.get("journal", {}), progress, tracker)
        if first_step:
            journal.say(f"resumes at step {first_step} of {num_steps}")
            if saved["world_size"] != world_size:
                journal.say(f"{saved['world_size']} ranks became {world_size}: sums are rounded otherwise from here on")
        saved_at, validation_is_due = time.monotonic(), False
        errors: dict[str, float] = {}
        for step, batch in enumerate(journal.timed(batches), start=first_step + 1):
            rate = schedule.learning_rate(
                config.learning_rate, config.schedule, journal.epoch_at(step), config.num_epochs, config.warmup_epochs
            )
            averages = journal.epoch_at(step) >= config.averaging_start_epoch
            settles = learner.is_settled(step, num_steps)
            journal.add(learner.step(step, rate, averages, batch, settles))
            if step % WINDOW == 0 or step == num_steps:
                losses = journal.close_window(step, rate)
                if losses is not None:
                    _end_diverged(run, images, step, losses, main)

            error = None
            validation_is_due |= validates_at(step)
            if settles and validation_is_due:
                validation_is_due = False
                errors = _validate(learner, validation)
                error = errors["top1_error_averaged"]
                journal.record(step, {f"val_{name}": value for name, value in errors.items()})
                journal.say_validated(step, errors)
            is_best = error is not None and error < lowest
            if main and settles and step < num_steps and (save_is_due(step) or is_best or notice.signal):
                if not journal.is_sound() and (losses := journal.close_window(step, rate)) is not None:
                    _end_diverged(run, images, step, losses, main)
                state = {"learner": learner.state(), "journal": journal.state(), "data_digest": data.manifest["digest"]}
                run.save_checkpoint(step, {"step": step, "world_size": world_size, **state}, error)
                saved_at = time.monotonic()
                lowest = error if error is not None and is_best else lowest
                if notice.signal:
                    journal.say(f"{notice.signal.name}: saved after step {step}")
                    notice.obey()
            progress.advance(note=journal.note)
        if main:
            facts = {
                "steps": num_steps,
                "seconds": journal.seconds(),
                "attempts": run.attempt,
                **machine,
                "core_or_gpu_hours": round(journal.seconds() * world_size / 3600, 4),
                "num_parameters": sum(p.numel() for p in learner.network.parameters()),
                "validation": errors,
            }
            _finish(run, data, learner, facts, is_best)
            figures = ("seconds", "core_or_gpu_hours", "num_parameters", "attempts")
            tracker.conclude({**{name: facts[name] for name in figures}, **facts["validation"]})


def _resume(run: Run, data: Dataset, learner: Learner, main: bool) -> tuple[dict[str, Any], float]:
    """Load the newest whole checkpoint, on all ranks; returns it (`step` is 0 where there is none) and the lowest error."""
    newest = broadcast_object_list([run.checkpoints.newest() if main else None])[0]
    saved: dict[str, Any] = checkpoints.load(newest) if newest else {"step": 0}
    if newest:
        if saved["data_digest"] != data.manifest["digest"]:
            raise InputError(f"{newest}: was trained on other data than {data.folder}; remove {run.folder} to begin anew")
        learner.load(saved["learner"])
    if main:
        run.rewind_metrics(saved["step"])
    best = run.checkpoints.best() if main else None
    return saved, checkpoints.read_note(best)["error"] if best else float("inf")


def _end_diverged(run: Run, images: Split, step: int, losses: list[list[float]], main: bool) -> NoReturn:
    """The window that ends at `step` has a loss that is no number: a file says what is known of it."""
    wrong = next(k for k, row in enumerate(losses) if not all(map(math.isfinite, row)))
    first = step - len(losses) + 1 + wrong
    (batch,) = keys(run.config, images.labels, range(first - 1, first), 0, 1)
    if main:
        found = {"step": first, "losses": [str(loss) for loss in losses[wrong]], "losses_before": losses[:wrong]}
        run.write_postmortem({**found, "images": [images.image_ids[index] for _, index in batch]})
    raise TrainingDiverged(
        f"{run.folder}: loss is {sum(losses[wrong])} at step {first}; lower learning_rate, or set a lower clip_norm; "
        f"{run.postmortem_path.name} names the images of that step"
    )


def _validate(learner: Learner, split: Split) -> dict[str, float]:
    """Errors of the raw and the averaged weights at one crop, each image once: ids strided over ranks, misses summed."""
    config, accelerator = learner.config, learner.accelerator
    mine = range(accelerator.process_index, len(split), accelerator.num_processes)
    errors = {}
    for kind, network in (("raw", learner.network), ("averaged", cast(GoogLeNet, learner.average.module))):
        engine = Engine(Classifier(network, PREPROCESSING, config.input_size), accelerator.device, config.precision)
        rank = rank_of_labels(engine, split, mine, network.classifier.out_features)
        for top in (1, 5):
            missed = torch.tensor(int((rank >= top).sum()), device=accelerator.device)
            errors[f"top{top}_error_{kind}"] = accelerator.reduce(missed, "sum").item() / len(split)
    return errors


def _finish(run: Run, data: Dataset, learner: Learner, facts: dict[str, Any], last_is_best: bool) -> None:
    from pipeline.reporting.model_card import model_card  # late: scipy and jinja2, for the first rank, once

    averaged = learner.average.module.state_dict()
    best, best_step = averaged, facts["steps"]
    if not last_is_best and (checkpoint := run.checkpoints.best()) is not None:
        state = checkpoints.load(checkpoint)
        best_step, average = state["step"], state["learner"]["average"]
        best = {name.removeprefix("module."): value for name, value in average.items() if name.startswith("module.")}
    weights: dict[Weights, dict[str, Tensor]] = {"averaged": averaged, "raw": learner.network.state_dict(), "best": best}
    facts = {**facts, "best_step": best_step}
    num_images = data.manifest["num_images"]["val"]
    counts = [round(facts["validation"][f"top{top}_error_averaged"] * num_images) for top in (1, 5)]
    card = model_card(run.config, "averaged", data, {**facts, "provenance": provenance.collect()}, {"crops_1": counts})
    run.finish(weights, facts, card)
