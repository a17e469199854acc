"""How a training step scales over ranks: the step, the sum of gradients, the loader,
and a model of them; with the rate of an evaluation, and peers, on one rank.

Each number of ranks is a launch of its own, of the product's own step and loader
(scaling_ranks.py).
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from pipeline.artefacts import sealing
from pipeline.artefacts.measurements import HeldOut, ScalingFacts
from pipeline.benchmarks.scaling_ranks import CONFIG, SHARD, Ranks
from pipeline.benchmarks.turns import photograph_shard
from pipeline.configs.benchmark import ScalingConfig
from pipeline.errors import StageFailed
from pipeline.runtime import device, disk
from pipeline.statistics.scaling import StepTime, fit


def benchmark_scaling(
    config: ScalingConfig, root: Path, launch: Callable[[int, Path], None]
) -> ScalingFacts:
    """Measure, write benchmarks/<hash>/benchmark.json, and return what it holds.

    `launch` runs `measure_ranks` on so many ranks, which share the folder.

    Raises:
        InputError: `config.path` holds no usable image.
        StageFailed: a launch left no measurement.
    """
    folder = root / config.folder / "ranks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        photograph_shard(folder, config.path, config.num_images).rename(folder / SHARD)
        disk.write_atomic(folder / CONFIG, config.model_dump_json().encode())
        for number in sorted({1, *config.ranks}):
            launch(number, folder)
        measured = [_read(folder, number) for number in sorted({1, *config.ranks})]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # a benchmark of this config may have been made before
            folder.parent.rmdir()
    facts = _facts(config, measured)
    sealing.SCALING_BENCHMARK.seal(config, root, [], facts)
    return facts


def _read(folder: Path, number: int) -> Ranks:
    try:
        return Ranks.load((folder / f"ranks_{number}.json").read_bytes())
    except (OSError, ValidationError):
        raise StageFailed(f"benchmark scaling: {number} ranks left no measurement") from None


def _facts(config: ScalingConfig, measured: Sequence[Ranks]) -> ScalingFacts:
    first = measured[0]
    alone = first.alone
    if alone is None:
        raise StageFailed("benchmark scaling: the first launch was not of one rank")
    points = [point for ranks in measured for point in ranks.points]
    times = [StepTime(point.ranks, point.images, point.seconds[1]) for point in points]
    last = max(times)
    held_out = None
    if last.ranks > 1 and len(times) > 2:
        seen = fit([each for each in times if each != last])
        predicted = seen.seconds(last.ranks, last.images)
        held_out = HeldOut(**last._asdict(), predicted=predicted)
    return ScalingFacts(
        input_size=config.input_size,
        rounds=config.rounds,
        kind=first.kind,
        device=device.joined([ranks.hardware for ranks in measured])["name"],
        loaders=first.loaders,
        gradient_bytes=first.gradient_bytes,
        points=points,
        model=fit(times),
        held_out=held_out,
        gflop_per_image=alone.gflop_per_image,
        peak_gflops=alone.peak_gflops,
        crops_per_second=alone.crops_per_second,
        peers=alone.peers,
    )
