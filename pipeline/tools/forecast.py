"""Forecast the cost of the missing stages of a study, from the cost of the same work
before under this root.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from pipeline.artefacts import sealing
from pipeline.artefacts.facts import Provenance, Sealed
from pipeline.artefacts.manifest import num_images
from pipeline.artefacts.measurements import SealedEvaluate, SealedTrain
from pipeline.configs.base import Frozen, StageConfig
from pipeline.configs.benchmark import BenchmarkConfig
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.network import NetworkConfig
from pipeline.configs.prepare import ILSVRC2012_IMAGES, ILSVRC2012Config, PrepareConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.paper.policies import NUM_CROPS, num_crops
from pipeline.paper.schedule import total_steps
from pipeline.runtime.device import Device, joined
from pipeline.tools import scaling

FULL_NETWORK = NetworkConfig()
# the contenders of benchmarks/train.py and evaluate.py that are ours, on one core
BENCHMARKED = {"bf16": "ours bf16", "fp32": "ours fp32"}


class Cost(NamedTuple):
    """The core- or GPU-hours of a stage, the device that they are measured on, and how
    they are known.

    `hours` is None where no such work was measured. `wall_hours` is known where the
    number of ranks is.
    """

    hours: float | None
    device: Device | None = None
    basis: Literal["measured", "scaled"] = "measured"
    wall_hours: float | None = None


def forecast(
    study: Study,
    root: Path,
    here: Device | None = None,
    ranks: Mapping[str, int] = MappingProxyType({}),
    site: str = "",
) -> dict[str, Cost]:
    """Return the cost of each missing training and evaluation, by its hash.

    The cost is the number of images times the seconds an image of earlier work. Where
    no such work was measured, `benchmark scaling` is scaled to the size of the network,
    the batch and the `ranks` (by stage). The device is `here` if it was measured,
    otherwise the device that was measured last; the cost names it.

    Trainings are alike if network, precision and compilation are equal; evaluations
    are alike if the classifier is equal too. An evaluation costs by the crop.
    """
    measured: dict[str, dict[Device, float]] = {}
    for kind, device, seconds in _measured(root):
        rates = measured.setdefault(kind, {})
        rates.pop(device, None)  # the newest comes last
        rates[device] = seconds
    scales = scaling.benchmarks(root, here, site)
    costs = {}
    for config in study.stages:
        if isinstance(config, TrainConfig | EvaluateConfig) and not config.is_complete(root):
            rates = measured.get(_kind(config), {})
            split = "train" if isinstance(config, TrainConfig) else "val"
            count, number = num_images_of(config.data, root, split), ranks.get(config.stage)
            if not count:
                cost = Cost(None)
            elif rates:
                device = max(reversed(rates), key=lambda device: device == here)
                hours = rates[device] * _amount(config, count) / 3600
                is_such = number and (here is None or device.kind == here.kind)
                wall = hours / number if number and is_such else None
                cost = Cost(hours, device, "measured", wall)
            elif (known := scaling.seconds(scales, config, count, number or 1)) is not None:
                device, wall = known
                cost = Cost(wall * (number or 1) / 3600, device, "scaled", wall / 3600)
            else:
                cost = Cost(None)
            costs[config.hash] = cost
    return costs


def num_images_of(config: PrepareConfig, root: Path, split: str) -> int:
    """Return the number of images of a data set, or 0 where it is not known yet.

    For the original ILSVRC-2012 it is known before the preparation.
    """
    original = isinstance(config, ILSVRC2012Config) and not config.trust_archives
    return num_images(config, root, split) or (ILSVRC2012_IMAGES[split] if original else 0)


def _amount(config: TrainConfig | EvaluateConfig, count: int) -> int:
    """Return how many images pass the network: of all steps, or all crops."""
    if isinstance(config, TrainConfig):
        return (
            total_steps(count, config.num_epochs, config.global_batch_size)
            * config.global_batch_size
        )
    return count * max(num_crops(policy) for policy in config.policies)


def _kind(config: TrainConfig | EvaluateConfig) -> str:
    """Return a text that is equal for work of equal cost."""
    if isinstance(config, TrainConfig):
        return _work("train", config.network, config.precision, config.compiled)
    if isinstance(config.classifier, ForeignConfig):
        what: Any = (config.classifier.arch, config.classifier.input_size)
    else:
        what = config.classifier.network
        what = what.but(aux_heads=()) if isinstance(what, NetworkConfig) else what
    return _work("evaluate", what, config.precision, config.compiled)


def _work(stage: str, what: Any, precision: str, compiled: bool) -> str:
    return json.dumps(
        [stage, what.science if isinstance(what, Frozen) else what, precision, compiled]
    )


def _measured(root: Path) -> Iterator[tuple[str, Device, float]]:
    """Yield the kind of each measured work, its device, and its seconds an image.

    Benchmarks come first, then finished stages.
    """
    for path in _oldest_first(root, BenchmarkConfig):
        with suppress(InputError):
            yield from _benchmarked(sealing.read_benchmark(path)[1])
    for path in _oldest_first(root, TrainConfig):
        with suppress(ValidationError, InputError):
            run = sealing.RUN.load(path)
            trained = TrainConfig.model_validate(run.config)
            ran = [run.hardware, *(attempt.hardware for attempt in run.elsewhere or ())]
            device = _device(run.device, ran, run.provenance)
            if images := run.steps * trained.global_batch_size:
                yield _kind(trained), device, 3600 * run.core_or_gpu_hours / images
    for path in _oldest_first(root, EvaluateConfig):
        with suppress(ValidationError, InputError):
            predictions = sealing.PREDICTIONS.load(path)
            evaluated = EvaluateConfig.model_validate(predictions.config)
            device = _device(predictions.device, [predictions.hardware], predictions.provenance)
            if images := _amount(evaluated, predictions.num_images):
                yield _kind(evaluated), device, 3600 * predictions.core_or_gpu_hours / images


def _benchmarked(sealed: Sealed) -> Iterator[tuple[str, Device, float]]:
    """Yield kind, device and seconds an image of our contenders in a benchmark."""
    network = FULL_NETWORK.but(
        input_size=sealed.config["input_size"], width=sealed.config.get("width", 1.0)
    )
    device = _device("cpu", [], sealed.provenance)
    for precision, name in BENCHMARKED.items():
        if isinstance(sealed, SealedTrain):
            rate = sealed.contenders[name].images_per_second[1]
            yield _work("train", network, precision, False), device, 1 / rate
        elif isinstance(sealed, SealedEvaluate):
            for compiled, contender in ((False, name), (True, f"{name} compiled")):
                if (ours := sealed.contenders.get(contender)) is not None:
                    rate = NUM_CROPS["crops_144"] * ours.images_per_second[1]
                    like = _work("evaluate", network.but(aux_heads=()), precision, compiled)
                    yield like, device, 1 / rate


def _device(
    device: str, hardware: Sequence[Mapping[str, str] | None], provenance: Provenance
) -> Device:
    """Return the device that an artefact was made on, over all attempts of a training.

    Older artefacts do not hold the name of their GPU; it is then empty.
    """
    name = joined([each for each in hardware if each is not None]).get("name")
    if not device.startswith("cpu"):
        return Device("GPU", name or "")
    return Device("core", name or provenance.machine.rpartition(", ")[0])


def _oldest_first(root: Path, config: type[StageConfig]) -> list[Path]:
    """Return the last files of all artefacts of a stage, the newest at the end."""
    paths = (root / config.room).glob(f"*/{config.last_file}")
    return sorted(paths, key=lambda path: path.stat().st_mtime)


def in_words(cost: Cost | None, ranks: int | None, where: Device | None = None) -> str:
    """Say what a stage costs, and how long `ranks` take, each on a device like `where`.

    The text is empty for a stage that takes almost no time.
    """
    if cost is None:
        return ""
    if cost.hours is None or cost.device is None:
        return "hours unknown"
    spread = f", {_hours(cost.hours / ranks)} on {ranks} such" if ranks else ""
    # a site says what kind of device it has, not which
    is_such = where is None or where in (cost.device, Device(cost.device.kind))
    basis = ", scaled from benchmark scaling" if cost.basis == "scaled" else ""
    return f"{_hours(cost.hours)} of a {cost.device}" + (
        f"{spread}{basis}" if is_such else f"{basis}; of a {where} unknown"
    )


def total_in_words(costs: Collection[Cost]) -> str:
    """Say what all stages cost together."""
    known = [cost for cost in costs if cost.hours is not None]
    devices = sorted({cost.device for cost in known if cost.device})
    sums = [
        f"{_hours(sum(c.hours or 0 for c in known if c.device == device))} of a {device}"
        for device in devices
    ]
    if unknown := len(costs) - len(known):
        why = (
            "no data yet, or nothing of this network, size, precision and compilation was run or"
            " benchmarked under this root; going-deeper benchmark scaling does"
        )
        sums.append(f"{unknown} stage{'s' * (unknown > 1)} of unknown cost ({why})")
    return ", and ".join(sums)


def _hours(hours: float) -> str:
    return f"{hours * 60:.2g} min" if hours < 1 else f"{hours:,.1f} h"
