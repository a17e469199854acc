"""The cost of a training or an evaluation, scaled from `benchmark scaling`.

A training step follows the model of statistics/scaling.py. An image costs as the area
of the input and the square of the width, as nearly all work is in convolutions. A
loader that is slower than the step bounds it.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from pipeline.artefacts import sealing
from pipeline.artefacts.measurements import SealedScaling
from pipeline.configs.benchmark import BenchmarkConfig, ScalingConfig
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.network import NetworkConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.paper.policies import num_crops
from pipeline.paper.schedule import total_steps
from pipeline.runtime.device import Device
from pipeline.statistics.scaling import StepModel

# ours: the most that an image may cost beside the benchmark's, or the least as a part;
# a much smaller network spends its time on other things than a large one
MOST_TIMES = 4.0


class Scale(NamedTuple):
    """A benchmark, and the device it was made on."""

    config: ScalingConfig
    facts: SealedScaling
    device: Device


def benchmarks(root: Path, where: Device | None, site: str) -> list[Scale]:
    """Return the scaling benchmarks under a root, the best to scale from first.

    These are those of the site, then the newest. Those of another device than `where`
    are left out; a device without a name stands for all of its kind.
    """
    scales = []
    paths = (root / BenchmarkConfig.room).glob(f"*/{BenchmarkConfig.last_file}")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        with suppress(InputError, ValueError):
            what, facts = sealing.read_benchmark(path)
            if what == "scaling" and isinstance(facts, SealedScaling):
                config = ScalingConfig.model_validate(facts.config)
                scales.append(Scale(config, facts, Device(facts.kind, facts.device)))
    fitting = [
        scale for scale in scales if where in (None, scale.device, Device(scale.device.kind))
    ]
    return sorted(fitting, key=lambda scale: scale.config.site != site)


def seconds(
    scales: Sequence[Scale], config: TrainConfig | EvaluateConfig, num_images: int, ranks: int
) -> tuple[Device, float] | None:
    """Return the device and the seconds that a stage takes on so many ranks of it.

    None where no benchmark was of its precision and of a similar size, or its network
    is not ours.
    """
    shape = _shape(config)
    for scale in scales:
        # the benchmark computes evaluations eagerly
        is_compiled = scale.config.compiled and isinstance(config, TrainConfig)
        alike = (scale.config.precision, is_compiled)
        if shape is None or alike != (config.precision, config.compiled):
            continue
        times = (shape.input_size / scale.config.input_size) ** 2 * (
            shape.width / scale.config.width
        ) ** 2
        if not 1 / MOST_TIMES <= times <= MOST_TIMES:
            continue
        if isinstance(config, TrainConfig):
            return scale.device, _of_training(scale.facts, config, num_images, ranks, times)
        crops = num_images * max(num_crops(policy) for policy in config.policies)
        return scale.device, crops * times / scale.facts.crops_per_second[1] / ranks
    return None


def _of_training(
    facts: SealedScaling, config: TrainConfig, num_images: int, ranks: int, times: float
) -> float:
    images = config.global_batch_size / ranks
    step = StepModel(*facts.model).seconds(ranks, images, times)
    # a loader with processes of its own works beside the step
    loading = images / max(point.loader_images_per_second[1] for point in facts.points)
    step = max(step, loading) if facts.loaders else step + loading
    return step * total_steps(num_images, config.num_epochs, config.global_batch_size)


def _shape(config: TrainConfig | EvaluateConfig) -> NetworkConfig | None:
    if isinstance(config, TrainConfig):
        return config.shape
    if isinstance(config.classifier, ForeignConfig):
        shape = config.classifier.shape
        return shape and shape.but(input_size=config.classifier.input_size)
    return config.classifier.shape
