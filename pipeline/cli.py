"""The command `going-deeper`."""

import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from pipeline.artefacts import provenance, storage
from pipeline.experiment import load_study
from pipeline.stages import MULTI_RANK, run_stage
from pipeline.study import InputError, StageConfig, Study

WRONG_INPUT, STAGE_FAILED, INTERRUPTED = 2, 3, 130
PATH = click.Path(path_type=Path)


def main() -> None:
    """Run the command line. Wrong input is one line and exit code 2; a failed stage is exit code 3."""
    os.environ.setdefault(provenance.COMMAND, shlex.join(["going-deeper", *sys.argv[1:]]))
    try:
        sys.exit(commands.main(prog_name="going-deeper", standalone_mode=False))
    except InputError as error:
        _exit(WRONG_INPUT, str(error))
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


def _command(example: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command on a study: EXPERIMENT, the experiment's own options, and --root."""

    def decorate(function: Callable[..., None]) -> click.Command:
        for decorator in (
            click.option("--root", type=PATH, default=Path("outputs"), show_default=True, help="Folder of all artefacts."),
            click.argument("arguments", metavar="[OPTIONS OF THE EXPERIMENT]", nargs=-1, type=click.UNPROCESSED),
            click.argument("experiment", type=PATH),
            commands.command(epilog=f"Example: {example}", context_settings={"ignore_unknown_options": True}),
        ):
            function = decorator(function)
        return function  # type: ignore[return-value]

    return decorate


@_command("going-deeper run experiments/caltech101.py --data ../shared/data/caltech101 --members 2")
@click.option("--site", type=PATH, help="Site file: run the stages as jobs there.  [default: here]")
@click.option("--processes", type=click.IntRange(min=1), help="Ranks of a stage here.  [default: one a GPU or core]")
def run(experiment: Path, arguments: Sequence[str], root: Path, site: Path | None, processes: int | None) -> None:
    """Run the missing stages of a study, here or as jobs of a site. An interrupted run goes on where it stopped."""
    study = load_study(experiment, arguments)
    os.environ.setdefault("WANDB_RUN_GROUP", study.name)
    for config in study.stages:
        if config.stage == "prepare" and config.is_complete(root):
            run_stage(config, root)  # compares the source's listing with what was prepared
    missing = [config for config in study.stages if not config.is_complete(root)]
    if missing and study.report not in missing:
        missing.append(_forget_report(study, root))
    if not missing:
        print(f"nothing to do: all {len(study.stages)} stages of {study.name} are complete")
    elif site is not None:
        _run_on(site, missing, root)
    else:
        _run_here(missing, root, processes)
    _show(study, root)


@_command("going-deeper plan experiments/demo.py --members 3")
def plan(experiment: Path, arguments: Sequence[str], root: Path) -> None:
    """Show the stages of a study: which exist and which would run."""
    study = load_study(experiment, arguments)
    print(f"{study.name}: {study.title}")
    for config in study.stages:
        state = "complete" if config.is_complete(root) else "missing"
        print(f"  {state:9} {config.stage:9} {root / config.folder}")


@_command("going-deeper report experiments/demo.py --into results")
@click.option("--into", type=PATH, help="Also write RESULTS.md into this folder.")
def report(experiment: Path, arguments: Sequence[str], root: Path, into: Path | None) -> None:
    """Rebuild the report of a study from its verdicts and results."""
    study = load_study(experiment, arguments)
    storage.unseal(study.check, root)
    config = _forget_report(study, root)
    run_stage(config, root)
    if into is not None:
        storage.write_atomic(into / "RESULTS.md", (root / config.folder / "RESULTS.md").read_bytes())
    _show(study, root)


def _forget_report(study: Study, root: Path) -> StageConfig:
    """Have the report made again: it is quick, and what it shows may be newer than it."""
    config = study.report
    (root / config.folder / config.last_file).unlink(missing_ok=True)
    return config


def _run_here(missing: Sequence[StageConfig], root: Path, processes: int | None) -> None:
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
            _exit(STAGE_FAILED, f"{config.stage} {root / config.folder} failed: {str(error).strip().splitlines()[-1]}")
    print(f"{len(missing)} stages done in {time.monotonic() - started:.0f} s", file=sys.stderr)


def _run_on(site: Path, missing: Sequence[StageConfig], root: Path) -> None:
    from slurm.launch import JobFailed, launch
    from slurm.site import load_site

    try:
        launch(missing, root, load_site(site))
    except JobFailed as error:
        _exit(STAGE_FAILED, str(error))


def _show(study: Study, root: Path) -> None:
    """Print the study's table and where its report lies."""
    config = study.report
    if config.is_complete(root):
        sealed: dict[str, Any] = storage.unseal(config, root)
        print(sealed["summary"])
        print(f"report: {root / config.folder / 'report.html'}")
