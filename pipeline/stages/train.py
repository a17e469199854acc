"""Stage: a data set -> one trained network, its metrics, and its averaged weights.

Randomness is stateless: which image comes when, how it is cut and what dropout drops are functions of the seeds and the
step. So a run resumed at any step goes on with the same bits, and a checkpoint holds no random state.
"""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from pipeline.adapters import images, ranks
from pipeline.adapters.progress import Progress
from pipeline.adapters.tracking import Tracker
from pipeline.artefacts.dataset import Dataset, Split
from pipeline.artefacts.run import Run
from pipeline.paper import schedule
from pipeline.paper.augmentation import stream, training_patch
from pipeline.paper.averaging import exponential
from pipeline.paper.googlenet import INITIALISATIONS, GoogLeNet, normalise, training_loss
from pipeline.stages.evaluate import autocast, rank_of_labels
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
    with run.lock() if accelerator.is_main_process else nullcontext():
        _train(config, run, Dataset(config.data, root), accelerator)
    accelerator.wait_for_everyone()
    return run


def _train(config: TrainConfig, run: Run, data: Dataset, accelerator: Accelerator) -> None:
    # What is trained
    shape = config.network
    network = GoogLeNet(data.num_classes, shape.input_size, shape.width, shape.aux_heads, shape.dropout)
    INITIALISATIONS[config.init](network, torch.Generator().manual_seed(config.init_seed))
    network = network.to(accelerator.device, memory_format=torch.channels_last)
    average = AveragedModel(network, multi_avg_fn=exponential(config.averaging_decay))
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in network.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)

    # Where it stands
    images_of, validation = data.split("train"), data.split("val")
    num_steps = schedule.total_steps(len(images_of), config.num_epochs, config.global_batch_size)
    found = [str(run.newest_checkpoint() or "") if accelerator.is_main_process else ""]
    state = run.load_checkpoint(Path(name) if (name := broadcast_object_list(found)[0]) else None)
    first_step, seconds_before = 0, 0.0
    if state is not None:
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first_step, seconds_before = state["step"], state["seconds"]
    if accelerator.is_main_process:
        run.rewind_metrics(first_step)
    model, optimizer = accelerator.prepare(network, optimizer)

    # The loop
    def epoch_of(step: int) -> float:
        return step * config.global_batch_size / len(images_of)

    def validate_at(step: int) -> bool:
        every = config.validate_every_epochs
        return step == num_steps or math.floor(epoch_of(step) / every) > math.floor(epoch_of(step - 1) / every)

    def save() -> None:
        state = {
            "step": step,
            "seconds": seconds(),
            "network": network.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
        }
        run.save_checkpoint(step, state)

    started = saved = time.monotonic()

    def seconds() -> float:
        return seconds_before + time.monotonic() - started

    main = accelerator.is_main_process
    losses: list[Tensor] = []
    note, last_row = "", (first_step, seconds_before)
    batches = _batches(config, images_of, first_step, num_steps, accelerator)
    label = f"train {config.hash[:8]}"
    with (
        Progress(label, num_steps, "steps", done=first_step, silent=not main) as progress,
        Tracker(config, run.root, active=main) as tracker,
    ):
        if state is not None:
            progress.say(f"{label}: resumes at step {first_step} of {num_steps}")
        step = first_step
        for step, (pixels_NHWC, labels_N) in enumerate(batches, start=first_step + 1):
            rate = schedule.learning_rate(
                config.learning_rate, config.schedule, epoch_of(step), config.num_epochs, config.warmup_epochs
            )
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(stream("dropout", config.data_seed, step, accelerator.process_index).getrandbits(63))
            with autocast(accelerator.device, config.precision):
                outputs = model(normalise(pixels_NHWC.to(accelerator.device)))
            loss = training_loss(outputs, labels_N.to(accelerator.device), config.aux_weight, config.label_smoothing)
            accelerator.backward(loss)
            if config.clip_norm is not None:
                accelerator.clip_grad_norm_(network.parameters(), config.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            average.update_parameters(network)
            losses.append(loss.detach())

            if step % WINDOW == 0 or step == num_steps:
                mean_loss = float(accelerator.reduce(torch.stack(losses).mean(), "mean"))
                losses.clear()
                if not math.isfinite(mean_loss):
                    raise TrainingDiverged(f"{run.folder}: loss is {mean_loss} near step {step}; lower learning_rate or clip_norm")
                num_images = (step - last_row[0]) * config.global_batch_size
                row = {
                    "step": step,
                    "epoch": round(epoch_of(step), 4),
                    "seconds": round(seconds(), 2),
                    "loss": mean_loss,
                    "learning_rate": rate,
                    "images_per_second": round(num_images / (seconds() - last_row[1]), 2),
                }
                last_row = (step, seconds())
                _record(run, tracker, row, main)
                note = f"loss {mean_loss:.3f}{note[note.find(','):] if ',' in note else ''}"
            if validate_at(step):
                errors = {}
                for kind, candidate in (("raw", network), ("averaged", average.module)):
                    top1, top5 = _validation_errors(candidate, validation, config, accelerator)
                    errors |= {f"val_top1_error_{kind}": top1, f"val_top5_error_{kind}": top5}
                row = {"step": step, "epoch": round(epoch_of(step), 4), "seconds": round(seconds(), 2), **errors}
                _record(run, tracker, row, main)
                note = f"{note.split(',')[0]}, val top-5 error {100 * errors['val_top5_error_averaged']:.1f} %"
                progress.say(f"{label}: epoch {epoch_of(step):.1f} of {config.num_epochs:g}, {seconds():.0f} s, {note}")
            if main and step < num_steps and time.monotonic() - saved >= config.checkpoint_every_seconds:
                save()
                saved = time.monotonic()
            progress.advance(note=note)
        if main:
            facts = {
                "steps": num_steps,
                "seconds": round(seconds(), 2),
                "world_size": accelerator.num_processes,
                "device": str(accelerator.device),
                "core_or_gpu_hours": round(seconds() * accelerator.num_processes / 3600, 4),
                "num_parameters": sum(p.numel() for p in network.parameters()),
            }
            run.finish({"averaged": average.module.state_dict(), "raw": network.state_dict()}, facts)
            tracker.summarise({"seconds": facts["seconds"], "num_parameters": facts["num_parameters"]})


def _record(run: Run, tracker: Tracker, row: dict[str, float], main: bool) -> None:
    if main:
        run.log(row)
        tracker.log({("trainer/step" if name == "step" else name): value for name, value in row.items()})


def _validation_errors(network: nn.Module, split: Split, config: TrainConfig, accelerator: Accelerator) -> tuple[float, float]:
    """Top-1 and top-5 error at one crop, each image once: ids strided over ranks, hits summed."""
    mine = range(accelerator.process_index, len(split), accelerator.num_processes)
    network.eval()
    rank = rank_of_labels(network, split, mine, config.network.input_size, config.precision, accelerator.device)
    network.train()
    wrong = torch.tensor([int((rank >= 1).sum()), int((rank >= 5).sum())], device=accelerator.device)
    top1, top5 = accelerator.reduce(wrong, "sum").tolist()
    return top1 / len(split), top5 / len(split)


class _Patches(torch.utils.data.Dataset[tuple[np.ndarray, int]]):
    """Training patches by (epoch, index): the same pixels for the same key, in any process."""

    def __init__(self, split: Split, config: TrainConfig):
        self.split, self.config = split, config

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, int]:
        epoch, index = key
        image = images.decode(self.split.encoded(index))
        rng = stream("patch", self.config.data_seed, epoch, index)
        patch = training_patch(rng, image.width, image.height, self.config.min_area)
        pixels = images.cut_patch(image, patch, self.config.network.input_size)
        return pixels.copy(), int(self.split.labels[index])


def _batches(
    config: TrainConfig, split: Split, first_step: int, num_steps: int, accelerator: Accelerator
) -> Iterator[tuple[Tensor, Tensor]]:
    """This rank's share of each global batch, from `first_step` on: pixels (N x H x W x 3, uint8) and labels."""
    rank, world, size = accelerator.process_index, accelerator.num_processes, config.global_batch_size

    def keys() -> Iterator[list[tuple[int, int]]]:
        order, order_epoch = np.empty(0, np.int64), -1
        for step in range(first_step, num_steps):
            batch = []
            for position in range(step * size + rank, (step + 1) * size, world):
                epoch, place = divmod(position, len(split))
                if epoch != order_epoch:
                    order = schedule.epoch_order(split.labels, config.data_seed, epoch, config.class_balance)
                    order_epoch = epoch
                batch.append((epoch, int(order[place])))
            yield batch

    on_gpu = accelerator.device.type == "cuda"
    loader = DataLoader(
        _Patches(split, config),
        batch_sampler=keys(),  # type: ignore[arg-type]
        num_workers=max(1, ranks.num_cores() // accelerator.num_processes) if on_gpu else 0,
        pin_memory=on_gpu,
        generator=torch.Generator().manual_seed(0),  # private: the loader must not draw from the one that feeds dropout
    )
    yield from loader
