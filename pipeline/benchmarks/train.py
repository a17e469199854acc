"""How fast a training step and its loader are: our code beside torchvision's GoogLeNet,
on one core, interleaved.

torchvision's network has no LRN, 3x3 in place of 5x5, and batch norm. That is other
work, but the GoogLeNet that people run. It trains as people run it (eager, NCHW,
float32), and with every switch that our code uses (channels last, bfloat16). Another
width scales the channels of both networks alike.
"""

import io
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms

from pipeline.artefacts import sealing
from pipeline.artefacts.dataset import Split
from pipeline.artefacts.measurements import Quartiles, TrainFacts, Training
from pipeline.benchmarks.contenders import ONE_THREAD, SAME_ALLOCATOR
from pipeline.benchmarks.scaling_peers import torchvision_googlenet, usual_step
from pipeline.benchmarks.scaling_ranks import TURN_SECONDS, synthetic, training
from pipeline.benchmarks.turns import (
    Measure,
    Spent,
    photograph_shard,
    quartiles,
    stopwatch,
    take_turns,
    times_as_fast,
    worker,
)
from pipeline.configs.benchmark import BenchmarkConfig, ScalingConfig
from pipeline.configs.network import Precision
from pipeline.configs.train import TrainConfig
from pipeline.runtime import process_group
from pipeline.runtime.device import device_name, only
from pipeline.runtime.environment import ALLOCATOR, PROCESS_ENVIRONMENT
from pipeline.runtime.progress import Progress
from pipeline.training.cadence import Step
from pipeline.training.learner import Learner
from pipeline.training.loader import Patches, training_batches

BATCH = 32  # ours: as in the recipes
STEPS = 2  # ours: steps in one turn, or more
LOADED = 64  # ours: images in one turn of a loader, or more
CLASSES = 1000
TIMES = {"cpu": 1, "cuda": 20}  # ours: as many times as many steps in a turn


def benchmark_train(config: BenchmarkConfig, root: Path) -> TrainFacts:
    """Measure, write benchmarks/<hash>/benchmark.json, and return what it holds.

    Raises:
        InputError: `config.path` holds no usable image.
        StageFailed: a contender failed.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as processes:
        shards = [photograph_shard(Path(folder), config.path, config.num_images)]
        workers = {
            name: processes.enter_context(
                worker(partial(make, config, shards), {**environment, **only(config.device)})
            )
            for name, (_, make, environment) in CONTENDERS.items()
        }
        with Progress("benchmark train", (config.rounds + 1) * len(workers), "samples") as progress:
            rounds = take_turns(workers, config.rounds, progress)
    facts = _facts(config, rounds)
    sealing.TRAIN_BENCHMARK.seal(config, root, [], facts)
    return facts


# of each ratio by its name: ours, and the peer
RATIOS = {
    "step_times_torchvision": ("ours bf16", "torchvision"),
    "step_fp32_times_torchvision": ("ours fp32", "torchvision"),
    "step_times_torchvision_tuned": ("ours bf16", "torchvision, malloc"),
    "step_fp32_times_torchvision_tuned": ("ours fp32", "torchvision, malloc"),
    "step_times_torchvision_switched": ("ours bf16", "torchvision switched"),
    "loader_times_peer": ("our loader", "usual loader"),
    "loader_times_peer_tuned": ("our loader", "usual loader, malloc"),
}


def _facts(config: BenchmarkConfig, rounds: list[dict[str, Spent]]) -> TrainFacts:
    def ratios(seconds: dict[str, list[float]]) -> dict[str, Quartiles]:
        return {
            name: times_as_fast(seconds[our], seconds[peer]) for name, (our, peer) in RATIOS.items()
        }

    def rate(seconds: list[float]) -> Quartiles:
        return quartiles([1 / each for each in seconds])

    wall = {name: [results[name].wall for results in rounds] for name in CONTENDERS}
    cpu = {name: [results[name].cpu for results in rounds] for name in CONTENDERS}
    is_cpu = config.device == "cpu"
    return TrainFacts(
        input_size=config.input_size,
        width=config.width,
        rounds=len(rounds),
        batch=BATCH,
        contenders={
            name: Training(
                text=text,
                images_per_second=rate(wall[name]),
                images_per_cpu_second=rate(cpu[name]) if is_cpu else None,
            )
            for name, (text, _, _) in CONTENDERS.items()
        },
        **ratios(wall),
        cpu=ratios(cpu) if is_cpu else None,
        overhead_of_loading=quartiles(
            [1 - step / fed for step, fed in zip(wall["ours bf16"], wall["both"], strict=True)]
        ),
        allocator=ALLOCATOR,
        device=device_name(config.device),
    )


def torchvision_step(config: BenchmarkConfig, shards: list[Path], switched: bool) -> Measure:
    """Train torchvision's GoogLeNet and its two heads by SGD with momentum.

    With `switched` it runs in channels last and bfloat16.
    """
    layout = torch.channels_last if switched else torch.contiguous_format
    network = torchvision_googlenet(CLASSES, config.width).train()
    network = network.to(config.device).to(memory_format=layout)
    x = torch.randn(BATCH, 3, config.input_size, config.input_size, device=config.device)
    x = x.to(memory_format=layout)
    labels = torch.randint(0, CLASSES, (BATCH,), device=config.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, weight_decay=2e-4)

    precision = "bf16" if switched else "fp32"
    step = partial(usual_step, network, optimizer, x, labels, precision)
    return lambda _: _an_image(step, STEPS, BATCH, config.device)


def our_step(config: BenchmarkConfig, shards: list[Path], precision: Precision) -> Measure:
    """Train with our own step: normalisation, forward, backward, clipping, SGD, and the
    average of the weights.
    """
    learner = Learner(_training(config, precision), CLASSES, process_group.join(precision))
    batch = synthetic(config.input_size, BATCH, pinned=config.device == "cuda")
    return lambda number: _an_image(
        lambda: learner.step(Step(number, 1e-3), batch), STEPS, BATCH, config.device
    )


def both(config: BenchmarkConfig, shards: list[Path]) -> Measure:
    """Train with our own step, fed by one loader process."""
    run, device = _training(config, "bf16"), torch.device(config.device)
    learner = Learner(run, CLASSES, process_group.join(run.precision))
    batches = training_batches(run, Split(shards), range(10**6), 0, 1, num_workers=1, device=device)
    return lambda number: _an_image(
        lambda: learner.step(Step(number, 1e-3), next(batches)), STEPS, BATCH, config.device
    )


def usual_loader(config: BenchmarkConfig, shards: list[Path]) -> Measure:
    """Load with Pillow and torchvision's v1 transforms on the full JPEG."""
    split = Split(shards)
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(config.input_size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    images = iter(range(10**9))
    return lambda _: _an_image(
        lambda: transform(
            Image.open(io.BytesIO(split.encoded(next(images) % len(split)))).convert("RGB")
        ),
        LOADED,
        1,
    )


def our_loader(config: BenchmarkConfig, shards: list[Path]) -> Measure:
    """Load our own patches: decoded, cut, resized and mirrored.

    The device normalises them later.
    """
    split = Split(shards)
    patches, images = Patches(_training(config, "bf16"), split), iter(range(10**9))
    return lambda number: _an_image(lambda: patches[number, next(images) % len(split)], LOADED, 1)


def _training(config: BenchmarkConfig, precision: Precision) -> TrainConfig:
    """Return the training whose step `benchmark scaling` measures on one rank."""
    size, width = config.input_size, config.width
    one = ScalingConfig(
        input_size=size, width=width, precision=precision, ranks=(1,), batches=(BATCH,)
    )
    return training(one, BATCH)


def _an_image(work: Callable[[], object], times: int, images: int, device: str = "cpu") -> Spent:
    """Return the seconds of an image in some work, done `times` times or more: so often
    as fills a moment.
    """
    is_cuda, done = device == "cuda", 0
    if is_cuda:
        torch.cuda.synchronize()
    spent = stopwatch()
    while done < times * TIMES[device] or (not is_cuda and spent().wall < TURN_SECONDS):
        work()
        done += 1
    if is_cuda:
        torch.cuda.synchronize()
    return Spent(*(seconds / (done * images) for seconds in spent()))


Contender = tuple[str, Callable[[BenchmarkConfig, list[Path]], Measure], dict[str, str]]
CONTENDERS: dict[str, Contender] = {
    "torchvision": (
        "its GoogLeNet, eager fp32 NCHW",
        partial(torchvision_step, switched=False),
        ONE_THREAD,
    ),
    "torchvision, malloc": (
        "the same, with our settings of the allocator",
        partial(torchvision_step, switched=False),
        SAME_ALLOCATOR,
    ),
    "torchvision switched": (
        "channels last, bf16",
        partial(torchvision_step, switched=True),
        PROCESS_ENVIRONMENT,
    ),
    "ours fp32": (
        "true 5x5, LRN, two heads",
        partial(our_step, precision="fp32"),
        PROCESS_ENVIRONMENT,
    ),
    "ours bf16": ("the same in bf16", partial(our_step, precision="bf16"), PROCESS_ENVIRONMENT),
    "both": ("our bf16 step, fed by one loader process", both, PROCESS_ENVIRONMENT),
    "usual loader": ("Pillow, torchvision's v1 transforms, one process", usual_loader, ONE_THREAD),
    "usual loader, malloc": (
        "the same, with our settings of the allocator",
        usual_loader,
        SAME_ALLOCATOR,
    ),
    "our loader": ("one process", our_loader, PROCESS_ENVIRONMENT),
}
