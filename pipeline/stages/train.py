"""Stage: a data set -> one trained network, its metrics, and its averaged weights.

Randomness is stateless: which image comes when, how it is cut and what dropout drops are functions of the seeds and the
step. So a run resumed at any step goes on with the same bits, and a checkpoint holds no random state.
"""

import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from pipeline.adapters import ranks
from pipeline.adapters.classifiers import Classifier
from pipeline.adapters.engine import Engine, autocast
from pipeline.adapters.loader import keys, training_batches
from pipeline.adapters.operators import use_operators
from pipeline.adapters.progress import Progress
from pipeline.adapters.tracking import Tracker
from pipeline.artefacts import storage
from pipeline.artefacts.dataset import Dataset, Split
from pipeline.artefacts.run import Run
from pipeline.paper import schedule
from pipeline.paper.augmentation import stream
from pipeline.paper.averaging import equal, exponential
from pipeline.paper.googlenet import PREPROCESSING, GoogLeNet, normalise, training_loss
from pipeline.paper.initialisation import INITIALISATIONS
from pipeline.stages.classify import rank_of_labels
from pipeline.study import InputError, TrainConfig

WINDOW = 20  # ours: steps a row of metrics


class TrainingDiverged(Exception):
    """The loss is no longer a number."""


def train(config: TrainConfig, root: Path) -> Run:
    """Train as the config says, on all ranks of the environment; resume from the newest whole checkpoint.

    Raises:
        InputError: the global batch cannot be shared equally by the ranks, or another process trains this run.
        TrainingDiverged: the loss became NaN or infinite.
    """
    run = Run(config, root)
    if config.is_complete(root):
        return run
    accelerator = ranks.start()
    if config.global_batch_size % accelerator.num_processes:
        raise InputError(
            f"global_batch_size {config.global_batch_size} cannot be shared equally by {accelerator.num_processes} ranks"
        )
    with storage.lock(config, root) if accelerator.is_main_process else nullcontext():
        _train(config, run, Dataset(config.data, root), accelerator)
    accelerator.wait_for_everyone()
    return run


class Learner:
    """What training changes: the weights, their average, and the optimiser's momentum."""

    def __init__(self, config: TrainConfig, num_classes: int, accelerator: Accelerator):
        self.config, self.accelerator = config, accelerator
        network = GoogLeNet(num_classes, **config.network.model_dump())
        INITIALISATIONS[config.init](network, torch.Generator().manual_seed(config.init_seed))
        self.network = network.to(accelerator.device).to(memory_format=torch.channels_last)
        self.has_operators = use_operators(self.network, accelerator.device)
        averaging = equal() if config.averaging == "equal" else exponential(config.averaging_decay)
        self.average = AveragedModel(self.network, multi_avg_fn=averaging)
        groups = [
            {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in network.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
        self._model, self._stepper = accelerator.prepare(self.network, self.optimizer)

    def state(self) -> dict[str, Any]:
        """All of it, to save."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load(self, state: dict[str, Any]) -> None:
        """Become what was saved."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def step(self, step: int, rate: float, averages: bool, pixels_NHWC: Tensor, labels_N: Tensor) -> Tensor:
        """One optimiser step on this rank's share of the batch; returns its loss. `averages`: the weights are averaged."""
        device, config = self.accelerator.device, self.config
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(stream("dropout", config.data_seed, step, self.accelerator.process_index).getrandbits(63))
        with autocast(device, config.precision):
            outputs = self._model(normalise(pixels_NHWC.to(device, non_blocking=True)))
        loss = training_loss(outputs, labels_N.to(device, non_blocking=True), config.aux_weight, config.label_smoothing)
        self.accelerator.backward(loss)
        if config.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.network.parameters(), config.clip_norm)
        self._stepper.step()
        self._stepper.zero_grad()
        if averages:
            self.average.update_parameters(self.network)
        return loss.detach()

    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "average": self.average, "optimizer": self.optimizer}


def _train(config: TrainConfig, run: Run, data: Dataset, accelerator: Accelerator) -> None:
    learner = Learner(config, data.num_classes, accelerator)
    images, validation = data.split("train"), data.split("val")
    num_steps = schedule.total_steps(len(images), config.num_epochs, config.global_batch_size)
    main, world_size = accelerator.is_main_process, accelerator.num_processes
    label = f"train {config.hash[:8]}"

    # Resume
    newest = [run.newest_checkpoint() if main else None]
    checkpoint = broadcast_object_list(newest)[0]
    first_step, seconds_before = 0, 0.0
    if checkpoint is not None:
        saved = run.load_checkpoint(checkpoint)
        learner.load(saved)
        first_step, seconds_before = saved["step"], saved["seconds"]
    if main:
        run.rewind_metrics(first_step)

    started = saved_at = time.monotonic()

    def seconds() -> float:
        return round(seconds_before + time.monotonic() - started, 2)

    def epoch_at(step: int) -> float:
        return step * config.global_batch_size / len(images)

    def validates_at(step: int) -> bool:
        every = config.validate_every_epochs
        return step == num_steps or epoch_at(step) // every > epoch_at(step - 1) // every

    def record(step: int, row: dict[str, float]) -> None:
        if main:
            placed = {"epoch": round(epoch_at(step), 4), "seconds": seconds(), **row}
            run.log({"step": step, **placed})
            tracker.log({"trainer/step": step, **placed})

    batches = training_batches(
        config,
        images,
        range(first_step, num_steps),
        accelerator.process_index,
        world_size,
        num_workers=0 if accelerator.device.type == "cpu" else ranks.cores_per_rank(),
        pin_memory=accelerator.device.type == "cuda",
    )
    losses: list[Tensor] = []
    note, window = "", (first_step, seconds_before)

    def mean_loss() -> float:
        """Of the steps since the last row, over all ranks; a loss that is no number ends the training, with a post-mortem."""
        by_step: list[float] = accelerator.reduce(torch.stack(losses), "mean").tolist()
        wrong = next((k for k, loss in enumerate(by_step) if not math.isfinite(loss)), None)
        if wrong is None:
            return sum(by_step) / len(by_step)
        first = step - len(by_step) + 1 + wrong
        (batch,) = keys(config, images.labels, range(first - 1, first), 0, 1)
        facts = {"step": first, "losses_before": by_step[:wrong], "images": [images.image_ids[index] for _, index in batch]}
        if main:
            run.write_postmortem({"loss": str(by_step[wrong]), **facts})
        raise TrainingDiverged(
            f"{run.folder}: loss is {by_step[wrong]} at step {first}; lower learning_rate or clip_norm; "
            f"{run.postmortem_path.name} names the images of that step"
        )

    with (
        Progress(label, num_steps, "steps", done=first_step, silent=not main) as progress,
        Tracker(config, run.root, active=main) as tracker,
    ):
        if first_step:
            progress.say(f"{label}: resumes at step {first_step} of {num_steps}")
        for step, (pixels_NHWC, labels_N) in enumerate(batches, start=first_step + 1):
            rate = schedule.learning_rate(
                config.learning_rate, config.schedule, epoch_at(step), config.num_epochs, config.warmup_epochs
            )
            losses.append(learner.step(step, rate, epoch_at(step) >= config.averaging_start_epoch, pixels_NHWC, labels_N))

            if step % WINDOW == 0 or step == num_steps:
                loss = mean_loss()
                note = f"loss {loss:.3f}"
                losses.clear()
                speed = (step - window[0]) * config.global_batch_size / max(seconds() - window[1], 0.01)
                window = (step, seconds())
                record(step, {"loss": loss, "learning_rate": rate, "images_per_second": round(speed, 2)})
            if validates_at(step):
                if losses:
                    note = f"loss {mean_loss():.3f}"
                raw, averaged = (
                    _validation_errors(network, validation, config, accelerator)
                    for network in (learner.network, cast(GoogLeNet, learner.average.module))
                )
                record(
                    step, {f"val_{k}_raw": v for k, v in raw.items()} | {f"val_{k}_averaged": v for k, v in averaged.items()}
                )
                progress.say(
                    f"{label}: epoch {epoch_at(step):.1f} of {config.num_epochs:g}, {seconds():.0f} s, {note}, "
                    f"val top-1 error {100 * averaged['top1_error']:.1f} %, top-5 error {100 * averaged['top5_error']:.1f} %"
                )
            is_due = time.monotonic() - saved_at >= config.checkpoint_every_seconds
            if main and is_due and step < num_steps and (not losses or losses[-1].isfinite()):
                run.save_checkpoint(step, {"step": step, "seconds": seconds(), **learner.state()})
                saved_at = time.monotonic()
            progress.advance(note=note)
        if main:
            facts = {
                "steps": num_steps,
                "seconds": seconds(),
                "world_size": world_size,
                "device": str(accelerator.device),
                "operators": learner.has_operators,
                "core_or_gpu_hours": round(seconds() * world_size / 3600, 4),
                "num_parameters": sum(p.numel() for p in learner.network.parameters()),
            }
            run.finish({"averaged": learner.average.module.state_dict(), "raw": learner.network.state_dict()}, facts)
            tracker.summarise({"seconds": facts["seconds"], "num_parameters": facts["num_parameters"]})


def _validation_errors(network: GoogLeNet, split: Split, config: TrainConfig, accelerator: Accelerator) -> dict[str, float]:
    """Errors at one crop, each image once: ids strided over ranks, misses summed."""
    mine = range(accelerator.process_index, len(split), accelerator.num_processes)
    engine = Engine(Classifier(network, PREPROCESSING, config.input_size), accelerator.device, config.precision)
    rank = rank_of_labels(engine, split, mine, network.classifier.out_features)
    missed = torch.tensor([int((rank >= top).sum()) for top in (1, 5)], device=accelerator.device)
    top1, top5 = accelerator.reduce(missed, "sum").tolist()
    return {"top1_error": top1 / len(split), "top5_error": top5 / len(split)}
