"""The command `going-deeper`."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from pipeline.adapters import sources
from pipeline.arguments import Names, Triple, choices
from pipeline.artefacts import provenance, storage
from pipeline.experiment import load_study, one_line
from pipeline.local import refuse_stale, run_here
from pipeline.paper.crops import CURVE
from pipeline.stages import run_stage
from pipeline.stages.prepare import refuse_other_files
from pipeline.study import BenchmarkConfig, CropsConfig, InputError, PrepareConfig, StageConfig, StageFailed, Study

WRONG_INPUT, STAGE_FAILED, INTERRUPTED = 2, 3, 130
PATH = click.Path(path_type=Path)


def main() -> None:
    """Run the command line. Wrong input is one line and exit code 2; a failed stage is exit code 3."""
    os.environ.setdefault(provenance.COMMAND, shlex.join(["going-deeper", *sys.argv[1:]]))
    try:
        sys.exit(commands.main(prog_name="going-deeper", standalone_mode=False))
    except InputError as error:
        _exit(WRONG_INPUT, str(error))
    except StageFailed as error:
        _exit(STAGE_FAILED, str(error))
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
    print(f"going-deeper: {message}", file=sys.stderr)
    sys.exit(code)


@click.group(epilog="Example: going-deeper run experiments/demo.py")
def commands() -> None:
    """Reproduce GoogLeNet: from raw images to a verdict on every published number."""


TRIPLE = Triple()
ROOT = click.option("--root", type=PATH, default=Path("outputs"), show_default=True, help="Folder of all artefacts.")
PROCESSES = click.option("--processes", type=click.IntRange(min=1), help="Ranks of a stage here.  [default: one a GPU or core]")


def _command(example: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command on a study: EXPERIMENT, the experiment's own options, and --root."""

    def decorate(function: Callable[..., None]) -> click.Command:
        for decorator in (
            ROOT,
            click.argument("arguments", metavar="[OPTIONS OF THE EXPERIMENT]", nargs=-1, type=click.UNPROCESSED),
            click.argument("experiment", type=PATH),
            commands.command(epilog=f"Example: {example}", context_settings={"ignore_unknown_options": True}),
        ):
            function = decorator(function)
        return function  # type: ignore[return-value]

    return decorate


@_command("going-deeper run experiments/caltech101.py --data ../shared/data/caltech101 --members 2")
@click.option("--site", type=PATH, help="Site file: run the stages as jobs there.  [default: here]")
@PROCESSES
def run(experiment: Path, arguments: Sequence[str], root: Path, site: Path | None, processes: int | None) -> None:
    """Run the missing stages of a study, here or as jobs of a site. An interrupted run goes on where it stopped."""
    _run_missing(load_study(experiment, arguments), root, site, processes)


def _run_missing(study: Study, root: Path, site: Path | None, processes: int | None) -> None:
    os.environ.setdefault("WANDB_RUN_GROUP", study.name)
    if site is not None:
        from slurm.launch import launch
        from slurm.site import load_site

        place = load_site(site)  # wrong input is said before anything is done
    refuse_stale(study, root)
    for config in study.stages:
        if isinstance(config, PrepareConfig) and config.is_complete(root):
            refuse_other_files(config, root)
    missing = [config for config in study.stages if not config.is_complete(root)]
    if missing and study.report not in missing:
        missing.append(_forget_report(study, root))
    for config in missing:
        if isinstance(config, PrepareConfig):
            sources.open_source(config)  # a wrong path is said here, not in a job's log
    if not missing:
        print(f"nothing to do: all {len(study.stages)} stages of {study.name} are complete")
    elif site is not None:
        launch(missing, root, place)
    else:
        run_here(missing, root, processes)
    _show(study, root)


@_command("going-deeper plan experiments/demo.py --members 3")
def plan(experiment: Path, arguments: Sequence[str], root: Path) -> None:
    """Show the stages of a study: which exist and which would run."""
    study = load_study(experiment, arguments)
    refuse_stale(study, root)
    print(f"{study.name}: {study.title}")
    for config in study.stages:
        state = "complete" if config.is_complete(root) else "missing"
        print(f"  {state:9} {config.stage:9} {root / config.folder}")


@_command("going-deeper report experiments/demo.py --into results")
@click.option("--into", type=PATH, help="Also write RESULTS.md into this folder.")
def report(experiment: Path, arguments: Sequence[str], root: Path, into: Path | None) -> None:
    """Rebuild the report of a study from its verdicts and results."""
    study = load_study(experiment, arguments)
    refuse_stale(study, root)
    storage.unseal(study.check, root)
    config = _forget_report(study, root)
    run_stage(config, root)
    if into is not None:
        storage.write_atomic(into / "RESULTS.md", (root / config.folder / "RESULTS.md").read_bytes())
    _show(study, root)


@commands.command(
    epilog="Example: going-deeper evaluate --arch torchvision:squeezenet1_0 --weights W.safetensors --data FOLDER",
    context_settings={"max_content_width": 100},
)
@click.option("--arch", required=True, help="googlenet, torchvision:NAME, timm:NAME, or FILE.py:FUNCTION(num_classes).")
@click.option("--weights", type=PATH, help="A .caffemodel, .safetensors, .pt or .pth file.")
@click.option("--data", type=PATH, required=True, help="Folder with val/<class>/, <class>/ or files named <class>_*.")
@click.option("--classes", type=PATH, help="File with a class a line, in the order of the outputs.  [default: sorted]")
@click.option("--input-size", type=click.IntRange(min=32), help="Side of the input in pixels.  [default: the architecture's]")
@click.option("--mean", type=TRIPLE, help="R,G,B in 0..255 (B,G,R for bgr), subtracted.  [default: the architecture's]")
@click.option("--std", type=TRIPLE, help="R,G,B divisor after that.  [default: the architecture's]")
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


@_command("going-deeper export experiments/demo.py --member 0 --into exported")
@click.option("--member", type=int, default=0, show_default=True, help="Which member of the study, from 0.")
@click.option("--into", type=PATH, required=True, help="Folder to write to.")
def export(experiment: Path, arguments: Sequence[str], root: Path, member: int, into: Path) -> None:
    """Write a trained member as safetensors and ONNX, with a model card."""
    from pipeline.stages import export as stage

    print(stage.export(load_study(experiment, arguments), root, member, into))


@commands.command(epilog="Example: going-deeper audit --json")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def audit(as_json: bool) -> None:
    """Count Table 1 again, row by row: printed, counted, explained; and Table 3's arithmetic."""
    from pipeline.stages.audit import audit_json, audit_text

    print(audit_json() if as_json else audit_text())


@commands.group()
def benchmark() -> None:
    """Measure speed on this machine, ours beside what people usually write."""


def _measurement(what: str, doc: str, rounds: int) -> None:
    """Add `benchmark WHAT`; the function `benchmark_WHAT` of pipeline/benchmarks/WHAT.py measures."""

    @benchmark.command(what, help=doc, epilog=f"Example: going-deeper benchmark {what} --data ../shared/data/imagenet-sample")
    @click.option("--data", type=PATH, help="Folder of photographs.  [default: two that scikit-learn ships]")
    @click.option("--rounds", type=click.IntRange(min=1), default=rounds, show_default=True, help="Turns of each contender.")
    @click.option("--images", type=click.IntRange(min=1), default=4, show_default=True, help="Photographs taken from --data.")
    @click.option("--input-size", type=int, default=224, show_default=True, help="A multiple of 14.")
    @ROOT
    def command(data: Path | None, rounds: int, images: int, input_size: int, root: Path) -> None:
        from pipeline.stages.report import templates

        fields = {"what": what, "input_size": input_size, "rounds": rounds, "num_images": images, "path": data}
        try:
            config = BenchmarkConfig.model_validate(fields)
        except ValidationError as error:
            raise InputError(one_line(error)) from None
        module = import_module(f"pipeline.benchmarks.{what}")
        facts = getattr(module, f"benchmark_{what}")(config, root)
        print(templates().get_template(f"benchmark_{what}.txt").render(facts))
        print(f"figures: {root / config.folder / config.last_file}")


_measurement(
    "evaluate",
    """144 crops of photographs through GoogLeNet: naive, careful, compiled, ours; one core, interleaved.

    Some 25 seconds a round on a fast core, and a minute to compile. The peers and the rules are in pipeline/benchmarks.
    """,
    rounds=7,
)
_measurement(
    "train",
    """A training step and its loader: torchvision's GoogLeNet and ours; one core, interleaved. Some 30 seconds a round.""",
    rounds=5,
)


def _forget_report(study: Study, root: Path) -> StageConfig:
    """Have the report made again: it is quick, and what it shows may be newer than it."""
    config = study.report
    (root / config.folder / config.last_file).unlink(missing_ok=True)
    return config


def _show(study: Study, root: Path) -> None:
    """Print the study's table and where its report lies."""
    config = study.report
    if config.is_complete(root):
        sealed: dict[str, Any] = storage.unseal(config, root)
        print(sealed["summary"])
        print(f"report: {root / config.folder / 'report.html'}")
