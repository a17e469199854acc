"""What the missing stages of a study will cost, judged by what the same work took
before under this root.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.artefacts.manifest import num_images
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.network import NetworkConfig
from pipeline.configs.prepare import ILSVRC2012_IMAGES, ILSVRC2012Config, PrepareConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.paper.crops import NUM_CROPS, split_policy
from pipeline.paper.schedule import total_steps
from pipeline.runtime.device import Device, joined

FULL_NETWORK = NetworkConfig()
# contenders of benchmarks/train.py and evaluate.py, of one core
BENCHMARKED = {"bf16": "ours bf16", "fp32": "ours fp32"}


class Cost(NamedTuple):
    """Core- or GPU-hours of a stage, and the device they are of; no hours where nothing
    like it was measured.
    """

    hours: float | None
    device: Device | None = None


def forecast(study: Study, root: Path, here: Device | None = None) -> dict[str, Cost]:
    """The cost of each missing training and evaluation, by its hash: seconds for an
    image of earlier ones, times images. Of the device that is `here`, if
    it was measured; else of the one that was measured last, which the cost names.

    Trainings are alike if network, precision and compilation are; evaluations if the
    classifier is too, crop for crop.
    """
    measured: dict[str, dict[Device, float]] = {}
    for kind, device, seconds in _measured(root):
        rates = measured.setdefault(kind, {})
        rates.pop(device, None)  # the newest comes last
        rates[device] = seconds
    found = {}
    for config in study.stages:
        if isinstance(config, TrainConfig | EvaluateConfig) and not config.is_complete(root):
            rates = measured.get(_kind(config), {})
            count = _num_images(
                config.data, root, "train" if isinstance(config, TrainConfig) else "val"
            )
            if not rates or not count:
                found[config.hash] = Cost(None)
            else:
                device = max(reversed(rates), key=lambda device: device == here)
                found[config.hash] = Cost(rates[device] * _amount(config, count) / 3600, device)
    return found


def sharing(study: Study) -> str:
    """How many trainings a study takes, and how many its questions would take if each
    were asked alone.
    """
    members = {member.hash for named in study.check.results for member in named.members}
    arms = [
        {member.hash for member in arm.members}
        for compared in study.comparisons
        for arm in compared.arms
    ]
    asked = [] if members in arms else [members]  # of an arm it is no question of its own
    asked += [{member.hash for member in compared.inputs} for compared in study.comparisons]
    runs = {
        config.hash: config.classifier.hash
        for config in study.stages
        if isinstance(config, EvaluateConfig) and isinstance(config.classifier, TrainConfig)
    }
    sets = {frozenset(runs[name] for name in names if name in runs) for names in asked}
    total = sum(isinstance(config, TrainConfig) for config in study.stages)
    text = f"{total} training{'s' if total != 1 else ''}"
    return (
        f"{text}; each question by itself would take {sum(map(len, sets))} in all"
        if study.comparisons
        else text
    )


def _num_images(config: PrepareConfig, root: Path, split: str) -> int:
    """Those that are prepared; of the original ILSVRC-2012 they are known
    beforehand.
    """
    original = isinstance(config, ILSVRC2012Config) and not config.trust_archives
    return num_images(config, root, split) or (ILSVRC2012_IMAGES[split] if original else 0)


def _amount(config: TrainConfig | EvaluateConfig, count: int) -> int:
    """Images through the network: in all steps, or crops of all images."""
    if isinstance(config, TrainConfig):
        return (
            total_steps(count, config.num_epochs, config.global_batch_size)
            * config.global_batch_size
        )
    return count * max(NUM_CROPS.get(split_policy(policy)[0], 1) for policy in config.policies)


def _kind(config: TrainConfig | EvaluateConfig) -> str:
    """Equal for work that costs the same."""
    if isinstance(config, TrainConfig):
        return _named("train", config.network, config.precision, config.compiled)
    if isinstance(config.classifier, ForeignConfig):
        what: Any = (config.classifier.arch, config.classifier.input_size)
    else:
        what = config.classifier.network.but(aux_heads=())
    return _named("evaluate", what, config.precision, config.compiled)


def _named(stage: str, what: Any, precision: str, compiled: bool) -> str:
    return json.dumps(
        [stage, what.model_dump() if isinstance(what, NetworkConfig) else what, precision, compiled]
    )


def _measured(root: Path) -> Iterator[tuple[str, Device, float]]:
    """Kinds of work, devices, and seconds of each for an image: first the benchmarks',
    then those of finished stages.
    """
    for sealed in _sealed(root, "benchmarks/*/benchmark.json"):
        what, network = (
            sealed["config"]["what"],
            FULL_NETWORK.but(input_size=sealed["config"]["input_size"]),
        )
        device = _device("cpu", sealed)
        for precision, name in BENCHMARKED.items():
            if what == "train":
                yield _named(what, network, precision, False), device, 1 / _rate(sealed, name)
            elif what == "evaluate":
                for compiled, named in ((False, name), (True, f"{name} compiled")):
                    crops = NUM_CROPS["crops_144"] * _rate(sealed, named)
                    like = _named(what, network.but(aux_heads=()), precision, compiled)
                    yield like, device, 1 / crops
    for kind, pattern in (
        (TrainConfig, "runs/*/run.json"),
        (EvaluateConfig, "predictions/*/predictions.json"),
    ):
        for sealed in _sealed(root, pattern):
            config = kind.model_validate(sealed["config"])
            images = (
                sealed["steps"] * config.global_batch_size
                if isinstance(config, TrainConfig)
                else _amount(config, sealed["num_images"])
            )
            if images:
                seconds = 3600 * sealed["core_or_gpu_hours"] / images
                yield _kind(config), _device(sealed["device"], sealed), seconds


def _device(device: str, sealed: Mapping[str, Any]) -> Device:
    """What an artefact was made on. Of a GPU before its name was noted, none is
    known.
    """
    ran = [sealed, *sealed.get("elsewhere", ())]  # of a training, all attempts
    name = joined([attempt.get("hardware", {}) for attempt in ran]).get("name")
    if not device.startswith("cpu"):
        return Device("GPU", name or "")
    machine: str = sealed.get("provenance", {}).get("machine", "")
    return Device("core", name or machine.rpartition(", ")[0])


def _rate(sealed: Mapping[str, Any], contender: str) -> float:
    rate: float = sealed["contenders"][contender]["images_per_second"][1]
    return rate


def _sealed(root: Path, pattern: str) -> Iterator[Mapping[str, Any]]:
    """Last files that can be read, oldest first, so that the newest measurement
    counts.
    """
    for path in sorted(root.glob(pattern), key=lambda path: path.stat().st_mtime):
        try:
            yield json.loads(path.read_text())
        except ValueError:
            continue


def in_words(cost: Cost | None, ranks: int | None, where: Device | None = None) -> str:
    """What a stage costs, for people, and how long so many ranks take, each on a device
    such as `where`; nothing of stages that take no time to speak of.
    """
    if cost is None:
        return ""
    if cost.hours is None or cost.device is None:
        return "hours unknown"
    spread = f", {_hours(cost.hours / ranks)} on {ranks} such" if ranks else ""
    # a site says what kind of device it has, not which
    is_such = where is None or where in (cost.device, Device(cost.device.kind))
    return f"{_hours(cost.hours)} of a {cost.device}" + (
        spread if is_such else f"; of a {where} unknown"
    )


def total_in_words(costs: Collection[Cost]) -> str:
    """What all stages cost together."""
    known = [cost for cost in costs if cost.hours is not None]
    devices = sorted({cost.device for cost in known if cost.device})
    sums = [
        f"{_hours(sum(c.hours or 0 for c in known if c.device == device))} of a {device}"
        for device in devices
    ]
    if unknown := len(costs) - len(known):
        why = "no data yet, or nothing alike was run or benchmarked under this root"
        sums.append(f"{unknown} of unknown cost ({why})")
    return ", and ".join(sums)


def _hours(hours: float) -> str:
    return f"{hours * 60:.2g} min" if hours < 1 else f"{hours:,.1f} h"
