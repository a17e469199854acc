"""What each rank of `benchmark scaling` measures: its step, with and without the sum of
gradients, its loader, and on one rank alone the rate of an evaluation and of peers.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from pipeline.artefacts.dataset import Split
from pipeline.artefacts.facts import Facts
from pipeline.artefacts.measurements import Quartiles, ScalingPoint
from pipeline.benchmarks.peak import PEAK_LAYERS, conv_speed
from pipeline.benchmarks.scaling_peers import peers
from pipeline.benchmarks.turns import quartiles
from pipeline.configs.benchmark import ScalingConfig
from pipeline.configs.network import NetworkConfig, PixelConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import MOST_EPOCHS, TrainConfig
from pipeline.models.engine import Engine
from pipeline.models.fast_network import HALVES
from pipeline.models.loading import Classifier
from pipeline.paper.counting import count_parts
from pipeline.paper.googlenet import GoogLeNet
from pipeline.runtime import disk, environment, process_group
from pipeline.training.cadence import Step
from pipeline.training.learner import Learner
from pipeline.training.loader import Batch, training_batches

CLASSES = 1000
TURN_SECONDS = 0.5  # ours: a turn lasts at least so long, as a step may take 10 ms
SHARD, CONFIG = "photographs.arrow", "config.json"


class OneRank(Facts):
    """What is measured on one rank alone."""

    peak_gflops: float
    gflop_per_image: float
    crops_per_second: Quartiles
    peers: dict[str, Quartiles]


class Ranks(Facts):
    """The measurements of one launch."""

    hardware: dict[str, str]
    kind: str
    loaders: int
    gradient_bytes: int
    points: list[ScalingPoint]
    alone: OneRank | None


def measure_ranks(folder: Path) -> None:
    """Measure on all ranks of the environment what the config in a folder says.

    The first rank writes ranks_<n>.json there.
    """
    config = ScalingConfig.model_validate_json((folder / CONFIG).read_bytes())
    accelerator = process_group.join(config.precision)
    size = accelerator.num_processes
    points = [_point(config, images, accelerator, folder / SHARD) for images in config.batches]
    ranks = Ranks(
        hardware=process_group.hardware(accelerator),
        kind="GPU" if accelerator.device.type == "cuda" else "core",
        loaders=environment.cores_per_rank() - 1,
        gradient_bytes=4 * sum(p.numel() for p in _network(config).parameters()),
        points=points,
        alone=_alone(config, accelerator) if size == 1 else None,
    )
    if accelerator.is_main_process:
        disk.write_json(folder / f"ranks_{size}.json", ranks.plain())
    accelerator.wait_for_everyone()


def training(config: ScalingConfig, global_batch: int) -> TrainConfig:
    """Return the training whose step is measured: the paper's network and its heads."""
    return TrainConfig(
        data=PrepareConfig(source="imagefolder", name="benchmark"),
        network=NetworkConfig(input_size=config.input_size, width=config.width),
        num_epochs=MOST_EPOCHS,
        global_batch_size=global_batch,
        clip_norm=5.0,
        precision=config.precision,
        compiled=config.compiled,
    )


def _point(
    config: ScalingConfig, images: int, accelerator: Accelerator, shard: Path
) -> ScalingPoint:
    size, is_cuda = accelerator.num_processes, accelerator.device.type == "cuda"
    run = training(config, images * size)
    learner = Learner(run, CLASSES, accelerator)
    batch = synthetic(config.input_size, images, pinned=is_cuda)
    batches = training_batches(
        run,
        Split([shard]),
        range(10**6),
        accelerator.process_index,
        size,
        num_workers=environment.cores_per_rank() - 1,
        device=accelerator.device,
    )
    with closing(batches):
        works: dict[str, Callable[[], object]] = {
            "seconds": partial(_step, learner, batch),
            "apart_seconds": partial(_step_apart, learner, batch),
            "fed_seconds": partial(_step_fed, learner, batches),
            "loader": partial(next, batches),
        }
        taken = take_turns_here(works, config.rounds, accelerator)
    loaded = [images / seconds for seconds in taken.pop("loader")]
    return ScalingPoint(
        ranks=size,
        images=images,
        loader_images_per_second=quartiles(loaded),
        **{name: quartiles(seconds) for name, seconds in taken.items()},
    )


def _step(learner: Learner, batch: Batch) -> None:
    learner.step(Step(1, 1e-3), batch)


def _step_apart(learner: Learner, batch: Batch) -> None:
    with learner.apart():
        _step(learner, batch)


def _step_fed(learner: Learner, batches: Iterator[Batch]) -> None:
    _step(learner, next(batches))


def synthetic(input_size: int, images: int, pinned: bool) -> Batch:
    """Return a batch of random pixels and labels."""
    pixels = torch.randint(0, 256, (images, input_size, input_size, 3), dtype=torch.uint8)
    parts = (pixels, torch.randint(0, CLASSES, (images,)), torch.empty(images, 0))
    return Batch(*(part.pin_memory() if pinned else part for part in parts))


def take_turns_here(
    works: dict[str, Callable[[], object]], rounds: int, accelerator: Accelerator
) -> dict[str, list[float]]:
    """Return the seconds of each work, once a round, interleaved.

    All ranks do a work equally often, as its parts wait for each other. A first round
    warms up.
    """
    times = dict.fromkeys(works, 1)
    taken: dict[str, list[float]] = {name: [] for name in works}
    for number in range(-2, rounds):
        for name, work in works.items():
            seconds = _seconds(work, times[name], accelerator)
            if number == -1:  # the first round of all builds and compiles
                wanted = [max(1, round(TURN_SECONDS / max(seconds, 1e-4)))]
                times[name] = broadcast_object_list(wanted)[0]
            elif number >= 0:
                taken[name].append(seconds)
    return taken


def _seconds(work: Callable[[], object], times: int, accelerator: Accelerator) -> float:
    accelerator.wait_for_everyone()
    _wait_for_device(accelerator)
    started = time.perf_counter()
    for _ in range(times):
        work()
    _wait_for_device(accelerator)
    return (time.perf_counter() - started) / times


def _wait_for_device(accelerator: Accelerator) -> None:
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize()


def _network(config: ScalingConfig) -> GoogLeNet:
    with torch.device("meta"):
        return GoogLeNet(CLASSES, input_size=config.input_size, width=config.width)


def _alone(config: ScalingConfig, accelerator: Accelerator) -> OneRank:
    dtype = HALVES.get(config.precision, torch.float32)
    engine = Engine(
        Classifier(
            GoogLeNet(CLASSES, input_size=config.input_size, width=config.width, aux_heads=()),
            PixelConfig().preprocessing,
            config.input_size,
        ),
        accelerator.device,
        config.precision,
    )
    side, count = config.input_size, engine.batch_size
    crops = engine.pixels.batch(count)
    works: dict[str, Callable[[], object]] = {
        "evaluation": partial(engine.probabilities, crops),
    }
    batch = max(config.batches)
    if config.peers:
        works |= peers(config.input_size, batch, CLASSES, config.precision, accelerator.device)
        compiled = training(config, batch).but(compiled=True)
        works["ours, compiled"] = partial(
            _step,
            Learner(compiled, CLASSES, accelerator),
            synthetic(side, batch, pinned=accelerator.device.type == "cuda"),
        )
    taken: dict[str, Any] = take_turns_here(works, config.rounds, accelerator)
    evaluation = [count / seconds for seconds in taken.pop("evaluation")]
    return OneRank(
        peak_gflops=max(conv_speed(dtype, *layer, accelerator.device) for layer in PEAK_LAYERS)
        / 1e9,
        # forward, and twice as much backward; two operations for a multiply-add
        gflop_per_image=3 * 2 * count_parts(_network(config))[""].macs / 1e9,
        crops_per_second=quartiles(evaluation),
        peers={
            name: quartiles([batch / each for each in seconds]) for name, seconds in taken.items()
        },
    )
