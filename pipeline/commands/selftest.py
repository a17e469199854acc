"""The command `selftest`."""

from pathlib import Path

import click
from pydantic import ValidationError

from pipeline.commands.arguments import PATH, ROOT
from pipeline.configs.optimizer import MOST_WORKERS
from pipeline.configs.selftest import GROUPS, SelftestConfig
from pipeline.configs.wrong_fields import one_line
from pipeline.errors import InputError, StageFailed
from pipeline.runtime import fork_server
from pipeline.runtime import ranks as ranks_here
from pipeline.runtime.device import refuse_missing

# ours: the paper's network on a GPU; on a CPU one that takes minutes
SIZES = {"cpu": (112, 0.5), "cuda": (224, 1.0)}
CPU_RANKS = 2  # ours: the fewest that share


@click.command(epilog="Example: going-deeper selftest --device cuda")
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), help="[default: cuda where there is a GPU]"
)
@click.option(
    "--ranks",
    type=click.IntRange(1, MOST_WORKERS),
    help="Ranks that share a training.  [default: all GPUs, or 2 on a CPU]",
)
@click.option(
    "--minutes",
    type=click.FloatRange(0, 10_000, min_open=True),
    default=8.0,
    show_default=True,
    help="No check begins later.",
)
@click.option("--input-size", type=int, help="A multiple of 14.  [default: 224, or 112 on a CPU]")
@click.option(
    "--only",
    "groups",
    multiple=True,
    type=click.Choice(GROUPS),
    help="A group of checks. Repeatable.  [default: all]",
)
@click.option("--width", type=float, help="Of the network.  [default: 1, or 0.5 on a CPU]")
@click.option("--data", "path", type=PATH, help="Folder of photographs.  [default: two]")
@click.option(
    "--carry",
    type=PATH,
    metavar="FOLDER",
    help="Test nothing: write what a bare machine needs, to be started there.",
)
@click.option(
    "--python",
    default="3.12",
    show_default=True,
    help="Python of that machine, with --carry.",
)
@ROOT
def selftest(
    device: str | None,
    ranks: int | None,
    minutes: float,
    input_size: int | None,
    groups: tuple[str, ...],
    width: float | None,
    path: Path | None,
    carry: Path | None,
    python: str,
    root: Path,
) -> None:
    """Test that a device computes what the CPU computes, and measure its speed.

    Outputs, gradients, crops, 20 steps, repetition, resume, ranks, the stages
    themselves, what is compiled, then benchmarks. A check that does not fit into the
    minutes is not run. Exit code 3: a check failed.

    --carry writes a folder for a machine that has PyTorch but not this package; there:
    python FOLDER/selftest.py --device cuda
    """
    if carry is not None:
        from pipeline.tools.carry import carry_to

        print(carry_to(carry, python))
        return
    fork_server.forks("pipeline.selftest.selftest")
    import torch  # late, as --help needs none; it counts GPUs and uses none

    num_gpus = torch.cuda.device_count()
    chosen = device or ("cuda" if num_gpus else "cpu")
    refuse_missing(chosen)
    if chosen == "cuda" and (ranks or 0) > num_gpus:
        raise InputError(f"--ranks {ranks}: expected one a GPU; this machine has {num_gpus}")
    size, channels = SIZES[chosen]
    fields = {
        "device": chosen,
        "ranks": ranks or (num_gpus if chosen == "cuda" else CPU_RANKS),
        "groups": groups or GROUPS,
        "minutes": minutes,
        "input_size": input_size or size,
        "width": width or channels,
        "path": path,
    }
    try:
        config = SelftestConfig.model_validate(fields)
    except ValidationError as error:
        raise InputError(one_line(error)) from None
    from pipeline.reporting.wording import templates
    from pipeline.selftest.selftest import PAGE
    from pipeline.selftest.selftest import selftest as test

    def launch(function: object, number: int, *arguments: object) -> None:
        ranks_here.launch(function, number, *arguments)  # type: ignore[arg-type]

    facts = test(config, root, launch)
    print(templates().get_template("benchmark_selftest.txt").render(dict(facts)))
    folder = root / config.folder
    print(f"figures: {folder / config.last_file}\npage: {folder / PAGE}")
    if failed := [check.name for check in facts.checks if check.outcome == "failed"]:
        raise StageFailed(
            f"{len(failed)} of {len(facts.checks)} checks failed: {', '.join(failed)}"
        )
    if not any(check.outcome == "passed" for check in facts.checks):
        raise StageFailed(f"no check was run in {minutes:g} minutes")
