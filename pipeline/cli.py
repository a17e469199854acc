"""The command `going-deeper`."""

import os
import shlex
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated

import typer

from pipeline.artefacts import provenance
from pipeline.experiment import load_study
from pipeline.stages import MULTI_RANK, run_stage
from pipeline.study import InputError, ReportConfig, StageConfig, Study

DONE, WRONG_INPUT, STAGE_FAILED = 0, 2, 3
OPTIONS_OF_THE_EXPERIMENT = {"allow_extra_args": True, "ignore_unknown_options": True}

app = typer.Typer(
    help="Reproduce GoogLeNet: from raw images to a verdict on every published number.",
    epilog="Example: going-deeper run experiments/demo.py",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Experiment = Annotated[Path, typer.Argument(help="Experiment file; its own options, such as --members 3, follow it.")]
Root = Annotated[Path, typer.Option(help="Folder that holds all artefacts.", envvar="GOING_DEEPER_ROOT")]
ROOT = Path("outputs")


def main() -> None:
    """Run the command line. Wrong input is one line and exit code 2; a failed stage is exit code 3."""
    os.environ.setdefault(provenance.COMMAND, shlex.join(["going-deeper", *sys.argv[1:]]))
    try:
        app()
    except InputError as error:
        print(f"going-deeper: {error}", file=sys.stderr)
        raise SystemExit(WRONG_INPUT) from None
    except KeyboardInterrupt:
        print("going-deeper: interrupted; the same command goes on from here", file=sys.stderr)
        raise SystemExit(130) from None


@app.command(
    context_settings=OPTIONS_OF_THE_EXPERIMENT,
    epilog="Example: going-deeper run experiments/caltech101.py --data ../shared/data/caltech101",
)
def run(
    context: typer.Context,
    experiment: Experiment,
    root: Root = ROOT,
    site: Annotated[Path | None, typer.Option(help="Site file: run the stages as jobs there; else here.")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Ranks of training and evaluation here.", show_default="one a GPU or core")
    ] = None,
) -> None:
    """Run the missing stages of a study, here or as jobs of a site. An interrupted run goes on where it stopped."""
    study = load_study(experiment, context.args)
    os.environ.setdefault("WANDB_RUN_GROUP", study.name)
    for config in study.stages:
        if config.stage == "prepare" and config.is_complete(root):
            run_stage(config, root)  # compares the source's listing with what was prepared
    missing = [config for config in study.stages if not config.is_complete(root)]
    if missing and site is not None:
        from slurm.launch import launch
        from slurm.site import load_site

        launch(missing, root, load_site(site))
    elif missing:
        _run_here(study, missing, root, processes)
    else:
        print(f"nothing to do: all {len(study.stages)} stages of {study.name} are complete")
    _show(study, root)


@app.command(context_settings=OPTIONS_OF_THE_EXPERIMENT, epilog="Example: going-deeper plan experiments/demo.py --members 3")
def plan(context: typer.Context, experiment: Experiment, root: Root = ROOT) -> None:
    """Show the stages of a study: which exist and which would run."""
    study = load_study(experiment, context.args)
    print(f"{study.name}: {study.title}")
    for config in study.stages:
        state = "complete" if config.is_complete(root) else "missing"
        print(f"  {state:9} {config.stage:9} {root / config.folder}")


@app.command(
    context_settings=OPTIONS_OF_THE_EXPERIMENT, epilog="Example: going-deeper report experiments/demo.py --into results"
)
def report(
    context: typer.Context,
    experiment: Experiment,
    root: Root = ROOT,
    into: Annotated[Path | None, typer.Option(help="Also write RESULTS.md into this folder.")] = None,
) -> None:
    """Rebuild the report of a study from its verdicts and results."""
    study = load_study(experiment, context.args)
    config = study.stages[-1]
    (root / config.folder / config.last_file).unlink(missing_ok=True)
    run_stage(config, root)
    if into is not None:
        into.mkdir(parents=True, exist_ok=True)
        (into / "RESULTS.md").write_text((root / config.folder / "RESULTS.md").read_text())
    _show(study, root)


def _run_here(study: Study, missing: list[StageConfig], root: Path, processes: int | None) -> None:
    started = time.monotonic()
    for number, config in enumerate(missing, start=1):
        print(f"[{number}/{len(missing)}] {config.stage} {root / config.folder}", file=sys.stderr, flush=True)
        try:
            if config.stage in MULTI_RANK:
                from pipeline.adapters import ranks

                ranks.launch(run_stage, processes or ranks.num_local(), config, root)
            else:
                run_stage(config, root)
        except InputError:
            raise
        except Exception as error:
            traceback.print_exc()
            print(f"going-deeper: {config.stage} {root / config.folder} failed: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
            raise SystemExit(STAGE_FAILED) from None
    print(f"{study.name}: {len(missing)} stages done in {time.monotonic() - started:.0f} s", file=sys.stderr)


def _show(study: Study, root: Path) -> None:
    """Print the study's table and where its report lies."""
    from pipeline.artefacts.storage import unseal

    config = study.stages[-1]
    assert isinstance(config, ReportConfig)
    if config.is_complete(root):
        print(unseal(config, root)["summary"])
        print(f"report: {root / config.folder / 'report.html'}")
