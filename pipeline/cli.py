"""The command `going-deeper`."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pipeline import data_commands, measuring, report_commands, site_commands
from pipeline.adapters import sources
from pipeline.arguments import PATH, PROCESSES, ROOT, Names, Triple, choices, study_command
from pipeline.artefacts import provenance
from pipeline.experiment import load_study
from pipeline.local import is_rank, refuse_stale, run_here
from pipeline.paper.crops import CURVE
from pipeline.report_commands import forget_report, show
from pipeline.stages.prepare import refuse_other_files
from pipeline.study import CropsConfig, InputError, PrepareConfig, StageEnded, StageFailed, Study

WRONG_INPUT, STAGE_FAILED, INTERRUPTED, ENDED = 2, 3, 130, 143


def main() -> None:
    """Run the command line. Wrong input is one line and exit code 2; a failed stage is exit code 3."""
    os.environ.setdefault(provenance.COMMAND, shlex.join(["going-deeper", *sys.argv[1:]]))
    try:
        sys.exit(commands.main(prog_name="going-deeper", standalone_mode=False))
    except InputError as error:
        _exit(WRONG_INPUT, str(error))
    except StageFailed as error:
        _exit(STAGE_FAILED, str(error))
    except StageEnded as error:
        _exit(ENDED, f"{error}; the same command goes on from here")
    except OSError as error:
        _exit(WRONG_INPUT, f"{error.filename or 'input'}: {error.strerror or error}")
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
    except click.UsageError as error:
        help_for = error.ctx.command_path if error.ctx else "going-deeper"
        _exit(WRONG_INPUT, f"{error.format_message().rstrip('.')}; see {help_for} --help")
    except (click.Abort, KeyboardInterrupt):
        _exit(INTERRUPTED, "interrupted; the same command goes on from here")


def _exit(code: int, message: str) -> None:
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)  # a file's name may hold anything
    print(f"going-deeper: {line}", file=sys.stderr)
    sys.exit(code)


@click.group(epilog="Example: going-deeper run experiments/demo.py")
def commands() -> None:
    """Reproduce GoogLeNet: from raw images to a verdict on every published number."""


@study_command(commands, "going-deeper run experiments/caltech101.py --data ../shared/data/caltech101 --members 2")
@click.option("--site", type=PATH, help="Site file: run the stages as jobs there.  [default: here]")
@click.option("--wait", is_flag=True, help="With --site: print what happens until the study is done.")
@PROCESSES
def run(experiment: Path, arguments: Sequence[str], root: Path, site: Path | None, wait: bool, processes: int | None) -> None:
    """Run the missing stages of a study, here or as jobs of a site. An interrupted run goes on where it stopped."""
    _run_missing(load_study(experiment, arguments), root, site, processes, wait)


def _run_missing(study: Study, root: Path, site: Path | None, processes: int | None, wait: bool = False) -> None:
    os.environ.setdefault("WANDB_RUN_GROUP", study.name)
    if site is not None:
        from slurm.launch import launch
        from slurm.site import load_site
        from slurm.status import wait as await_study

        if is_rank():
            raise InputError(f"--site {site}: the ranks have been started already; go without --site")
        place = load_site(site)  # wrong input is said before anything is done
    refuse_stale(study, root)
    for config in study.stages:
        if isinstance(config, PrepareConfig) and config.is_complete(root):
            refuse_other_files(config, root)
    missing = [config for config in study.stages if not config.is_complete(root)]
    if missing and study.report not in missing:
        missing.append(forget_report(study, root))
    for config in missing:
        if isinstance(config, PrepareConfig):
            sources.open_source(config)  # a wrong path is said here, not in a job's log
    if not missing:
        print(f"nothing to do: all {len(study.stages)} stages of {study.name} are complete")
    elif site is not None:
        launch(study, missing, root, place)
        if wait and not await_study(study, root):
            raise StageFailed(f"{study.name}: not complete; see going-deeper status")
    else:
        run_here(missing, root, processes)
    show(study, root)


@study_command(commands, "going-deeper plan experiments/demo.py --members 3")
@click.option("--site", type=PATH, help="Site file: also show what each job would be granted there.")
def plan(experiment: Path, arguments: Sequence[str], root: Path, site: Path | None) -> None:
    """Show the stages of a study: which exist, which would run, and what they will cost, judged by what was run before."""
    from pipeline.stages import forecast

    study = load_study(experiment, arguments)
    granted: dict[str, str] = {}
    ranks: dict[str, int] = {}
    devices: dict[str, str] = {}
    if site is not None:
        from slurm.site import load_site

        place = load_site(site)
        granted, ranks, devices = place.in_words(), place.num_ranks(), place.devices()
    refuse_stale(study, root)
    costs = forecast.forecast(study, root)
    print(f"{study.name}: {study.title}")
    for config in study.stages:
        is_complete = config.is_complete(root)
        words = "" if is_complete else granted.get(config.stage, granted.get("report", ""))
        cost = forecast.in_words(costs.get(config.hash), ranks.get(config.stage), devices.get(config.stage, ""))
        said = "; ".join(filter(None, (words, cost)))
        print(f"  {'complete' if is_complete else 'missing':9} {config.stage:9} {root / config.folder}  {said}".rstrip())
    print(forecast.sharing(study))
    if costs:
        print(f"still to do: {forecast.total_in_words(costs.values())}")


@commands.command(
    epilog="Example: going-deeper evaluate --arch torchvision:squeezenet1_0 --weights W.safetensors --data FOLDER",
    context_settings={"max_content_width": 100},
)
@click.option("--arch", required=True, help="googlenet, torchvision:NAME, timm:NAME, or FILE.py:FUNCTION(num_classes).")
@click.option("--weights", type=PATH, help="A .caffemodel, .safetensors, .pt or .pth file.")
@click.option(
    "--data",
    type=PATH,
    required=True,
    help="Folder with val/<class>/, <class>/, files named <class>_*, or ILSVRC's val tar and devkit.",
)
@click.option("--classes", type=PATH, help="File with a class a line, in the order of the outputs.  [default: sorted]")
@click.option("--input-size", type=click.IntRange(min=32), help="Side of the input in pixels.  [default: the architecture's]")
@click.option("--mean", type=Triple(), help="R,G,B in 0..255 (B,G,R for bgr), subtracted.  [default: the architecture's]")
@click.option("--std", type=Triple(), help="R,G,B divisor after that.  [default: the architecture's]")
@click.option("--channel-order", type=click.Choice(["rgb", "bgr"]), help="[default: the architecture's]")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--compile/--no-compile", "compiled", default=False, help="torch.compile; pays from some hundred images.")
@click.option(
    "--policies", type=Names(), default=",".join(CURVE), show_default=True, help="Also vgg_150, dense, crops_144_max ..."
)
@choices(CropsConfig)
@ROOT
@PROCESSES
def evaluate(**given: Any) -> None:
    """Measure any classifier on up to 144 crops, under the paper's protocol, every crop count from one pass.

    A policy is a set of crops and how they are averaged: crops_1 to crops_144 (the paper's), vgg_150, each also with _max
    or _geometric behind it; dense for GoogLeNet on whole images. The last options settle what the paper leaves open.
    """
    from pipeline.foreign import foreign_study

    root, processes = given.pop("root"), given.pop("processes")
    study = foreign_study(**given)
    _run_missing(study, root, None, processes)


@study_command(commands, "going-deeper export experiments/demo.py --member 0 --into exported")
@click.option("--member", type=int, default=0, show_default=True, help="Which member of the study, from 0.")
@click.option("--into", type=PATH, required=True, help="Folder to write to.")
def export(experiment: Path, arguments: Sequence[str], root: Path, member: int, into: Path) -> None:
    """Write a trained member as safetensors and ONNX, with a model card."""
    from pipeline.stages import export as stage

    print(stage.export(load_study(experiment, arguments), root, member, into))


report_commands.add_to(commands)
measuring.add_to(commands)
site_commands.add_to(commands)
commands.add_command(data_commands.data)
