"""What a study still takes in all: jobs, hours, disk, rows at W&B, money and energy."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.artefacts.manifest import num_images
from pipeline.configs.base import StageConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import ILSVRC2012_IMAGES, ILSVRC2012Config, PrepareConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.tools.forecast import Cost, num_images_of
from pipeline.training.cadence import Cadence
from slurm.site import Site

ILSVRC2012_BYTES = 154_642_401_280  # of its archives (sources/recognition.py)
ILSVRC2012_CLASSES = 1000
WEIGHTS = 13_378_280  # paper, section 5 with Table 1: of the network with both heads
COPIES = 3  # weights, their average and the momentum; also the final files: three kinds
CHECKPOINTS = 3  # artefacts/checkpoints.py: the newest two, and the best


def budget(study: Study, root: Path, costs: Mapping[str, Cost], site: Site | None) -> list[str]:
    """Return lines on what a study still takes."""
    missing = [config for config in study.stages if not config.is_complete(root)]
    lines = [f"disk: {_disk(missing, root)}; W&B: {_rows(missing, root)}"]
    if site is None:
        return lines
    return [*_jobs(study, missing, costs, site), *lines, *_bills(costs, site)]


def _jobs(
    study: Study, missing: Sequence[StageConfig], costs: Mapping[str, Cost], site: Site
) -> Iterator[str]:
    """Yield how many jobs there are, how long the longest chain takes, and which stages
    reach their time limit and go on.
    """
    jobs = [config for config in missing if config.has_job]
    arrays = sum(
        site.granted(config.stage).array
        for config in jobs
        if config.has_parts and site.granted(config.stage).array > 1
    )
    ends: dict[str, float] = {}
    unknown = 0
    chained: dict[str, int] = {}
    for config in study.stages:
        cost = costs.get(config.hash)
        wall = cost.wall_hours if cost else 0.0
        unknown += wall is None
        start = max((ends[source.hash] for source in config.inputs), default=0.0)
        ends[config.hash] = start + (wall or 0.0)
        tries = math.ceil((wall or 0.0) / _usable_hours(site, config))
        if tries > 1:
            chained[config.stage] = max(tries, chained.get(config.stage, 0))
    text = f"jobs: {len(jobs) + arrays + bool(missing)}"
    longest = max(ends.values(), default=0.0)
    if longest:
        text += f"; {longest:,.1f} h from end to end where all can start at once"
        text += f", and {unknown} stages of unknown length" if unknown else ""
    yield text
    for stage, tries in chained.items():
        limit = site.granted(stage).timeout_min
        text = f"a {stage} job reaches its limit of {limit} min and goes on, {tries} times in all"
        if tries - 1 > site.max_timeouts:
            text += f": more than max_timeouts = {site.max_timeouts} allows; give it longer"
        yield text


def _usable_hours(site: Site, config: StageConfig) -> float:
    """Return the hours of a job, less the delay in which it saves."""
    stage = config.stage if config.has_job else "report"
    return max(1 / 60, site.granted(stage).timeout_min / 60 - site.signal_delay_s / 3600)


def _disk(missing: Sequence[StageConfig], root: Path) -> str:
    """Return the bytes of what is missing: at the end, and at most."""
    final = most = 0.0
    is_known, others = True, False
    for config in missing:
        if isinstance(config, PrepareConfig):
            is_original = isinstance(config, ILSVRC2012Config)
            is_known &= is_original
            final += ILSVRC2012_BYTES * is_original
        elif isinstance(config, TrainConfig):
            others |= config.shape is None  # only torch knows how many weights these have
            weights = 4 * COPIES * WEIGHTS * config.shape.width**2 if config.shape else 0
            final += weights
            most += CHECKPOINTS * weights
        elif isinstance(config, EvaluateConfig):
            images = num_images(config.data, root, "val")
            if not images and isinstance(config.data, ILSVRC2012Config):
                images = ILSVRC2012_IMAGES["val"]
            is_known &= images > 0
            # the scores, of as many classes as ILSVRC-2012 has
            final += 4.0 * images * ILSVRC2012_CLASSES * len(config.policies)
    text = f"some {final / 1e9:,.1f} GB"
    text += f", {(final + most) / 1e9:,.1f} GB while all train" if most else ""
    text += ", and the weights of networks other than GoogLeNet" if others else ""
    return text if is_known else f"{text}, and the images"


def _rows(missing: Sequence[StageConfig], root: Path) -> str:
    rows = 0
    for config in missing:
        if isinstance(config, TrainConfig):
            images = num_images_of(config.data, root, "train")
            if not images:
                return "unknown, as the number of images is"
            cadence = Cadence(config, images)
            rows += math.ceil(cadence.num_steps / cadence.window)
            rows += math.ceil(config.num_epochs / config.validate_every_epochs)
    return f"{rows:,} rows"


def _bills(costs: Mapping[str, Cost], site: Site) -> Iterator[str]:
    """Yield money and energy, where the site says what an hour takes."""
    hours = sum(cost.hours for cost in costs.values() if cost.hours is not None)
    unknown = sum(cost.hours is None for cost in costs.values())
    parts = []
    if site.price_per_hour is not None:
        parts.append(f"{hours * site.price_per_hour:,.0f} {site.currency or ''}".rstrip())
    if site.watts is not None:
        parts.append(f"{hours * site.watts / 1000:,.0f} kWh")
    if parts and hours:
        rest = f", without {unknown} stages of unknown cost" if unknown else ""
        yield f"bill: {', '.join(parts)}{rest}"
