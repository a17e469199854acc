"""The commands that run a study, and that tell its cost: run, plan."""

from pathlib import Path

import click

from pipeline.commands.arguments import PROCESSES, SITE, study_command
from pipeline.commands.missing import few_images, refuse_wrong, run_missing, without_path
from pipeline.configs.study import Study
from pipeline.runtime import device
from pipeline.tools import forecast
from pipeline.tools.places import places, sharing
from slurm.budget import budget
from slurm.site import load_site


@study_command("going-deeper run caltech101 --data FOLDER --members 2")
@click.option(
    "--site", type=SITE, help="Site file or name: run the stages as jobs there.  [default: here]"
)
@click.option(
    "--wait", is_flag=True, help="With --site: print what happens until the study is done."
)
@PROCESSES
def run(
    study: Study,
    root: Path,
    site: Path | None,
    wait: bool,
    processes: int | None,
) -> None:
    """Run the missing stages of a study, here or as jobs of a site. An interrupted run
    goes on where it stopped.
    """
    run_missing(study, root, site, processes, wait)


@study_command("going-deeper plan demo --members 3")
@click.option(
    "--site", type=SITE, help="Site file or name: also show what each job would be granted there."
)
def plan(study: Study, root: Path, site: Path | None) -> None:
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
    print(f"{study.name}: {study.title}")
    for config in study.stages:
        is_complete = config.is_complete(root)
        words = "" if is_complete else granted.get(config.stage, granted.get("report", ""))
        cost = forecast.in_words(
            costs.get(config.hash), ranks.get(config.stage), devices.get(config.stage, here)
        )
        details = "; ".join(filter(None, (known[config.hash], words, cost)))
        print(
            f"  {'complete' if is_complete else 'missing':9} {config.stage:9}"
            f" {root / config.folder}  {details}".rstrip()
        )
    print(sharing(study))
    if costs:
        print(f"still to do: {forecast.total_in_words(costs.values())}")
        print("\n".join(budget(study, root, costs, place)))
    for config in without_path(study, root):
        print(f"before it can run: where the images of {config.name} lie, by --data")
    for sentence in few_images(study, root, place) if place else ():
        print(sentence)
