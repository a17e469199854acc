"""The command that tells what a study will run, and its cost: plan."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import click

from pipeline.commands.arguments import SITE, study_command
from pipeline.commands.missing import few_images, refuse_wrong, without_path
from pipeline.configs.base import StageConfig
from pipeline.configs.study import Study
from pipeline.runtime import device
from pipeline.runtime.device import Device
from pipeline.tools import forecast
from pipeline.tools.forecast import Cost
from pipeline.tools.places import places, sharing
from slurm.budget import budget
from slurm.site import Site, load_site


class Line(NamedTuple):
    """One stage of a plan.

    `place` is its place in the study, `grant` what a site's job of it gets. `hours` of
    a core or GPU (`device`) are None where they are not known, or almost none;
    `wall_hours` is the time on a site. `basis` is measured or scaled.
    """

    stage: str
    name: str
    state: str
    folder: str
    place: str
    grant: str
    hours: float | None
    device: str | None
    basis: str | None
    wall_hours: float | None


@study_command("going-deeper plan demo --members 3")
@click.option(
    "--site", type=SITE, help="Site file or name: also show what each job would be granted there."
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help=(
        "Print an object: study, title; stages, a list with the fields"
        f" {', '.join(Line._fields)}; notes, a list of sentences."
    ),
)
def plan(study: Study, root: Path, site: Path | None, as_json: bool) -> None:
    """Show the stages of a study: which exist, which would run, and what they will
    cost, judged by what was run before.
    """
    place = load_site(site) if site is not None else None
    granted, ranks, devices = (
        (place.in_words(), place.num_ranks(), place.devices()) if place else ({}, {}, {})
    )
    here = devices["train"] if place else device.here()
    refuse_wrong(study, root, place, is_plan=True)
    name = site.stem if site else ""
    costs = forecast.forecast(study, root, here, ranks or {"train": 1, "evaluate": 1}, name)
    known = places(study)
    lines = [
        _line(config, root, known[config.hash], granted, costs.get(config.hash))
        for config in study.stages
    ]
    notes = _notes(study, root, costs, place)
    if as_json:
        stages = [line._asdict() for line in lines]
        document = {"study": study.name, "title": study.title, "stages": stages, "notes": notes}
        print(json.dumps(document, indent=1))
        return
    print(f"{study.name}: {study.title}")
    for config, line in zip(study.stages, lines, strict=True):
        where: Device = devices.get(config.stage, here)
        cost = forecast.in_words(costs.get(config.hash), ranks.get(config.stage), where)
        details = "; ".join(filter(None, (line.place, line.grant, cost)))
        print(f"  {line.state:9} {line.stage:9} {line.folder}  {details}".rstrip())
    print("\n".join(notes))


def _line(
    config: StageConfig, root: Path, place: str, granted: Mapping[str, str], cost: Cost | None
) -> Line:
    is_complete = config.is_complete(root)
    return Line(
        config.stage,
        config.hash,
        "complete" if is_complete else "missing",
        str(root / config.folder),
        place,
        "" if is_complete else granted.get(config.stage, granted.get("report", "")),
        cost.hours if cost else None,
        str(cost.device) if cost and cost.device else None,
        cost.basis if cost and cost.hours is not None else None,
        cost.wall_hours if cost else None,
    )


def _notes(study: Study, root: Path, costs: Mapping[str, Cost], place: Site | None) -> list[str]:
    notes = [sharing(study)]
    if costs:
        notes.append(f"still to do: {forecast.total_in_words(costs.values())}")
        notes += budget(study, root, costs, place)
    notes += [
        f"before it can run: where the images of {config.name} lie, by --data"
        for config in without_path(study, root)
    ]
    return notes + (few_images(study, root, place) if place else [])
