"""The commands that measure and write no artefact of a study: audit, find-rate,
benchmark.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import click
from pydantic import ValidationError

from pipeline.commands.arguments import MOST, PATH, ROOT, study_command
from pipeline.commands.local import is_rank
from pipeline.configs.experiment import load_study
from pipeline.configs.study import BenchmarkConfig
from pipeline.configs.wrong_fields import one_line
from pipeline.errors import InputError


@click.command(epilog="Example: going-deeper audit --json")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def audit(as_json: bool) -> None:
    """Count Table 1 again, row by row: printed, counted, explained; and Table 3's
    arithmetic.
    """
    from pipeline.tools.audit import audit_json, audit_text

    print(audit_json() if as_json else audit_text())


@study_command("going-deeper find-rate demo")
@click.option(
    "--member", type=int, default=0, show_default=True, help="Which member of the study, from 0."
)
@click.option(
    "--steps",
    type=click.IntRange(2, MOST),
    default=30,
    show_default=True,
    help="Rates from the lowest to the highest.",
)
@click.option(
    "--batches",
    type=click.IntRange(1, MOST),
    default=4,
    show_default=True,
    help="Steps at each rate, whose mean loss counts.",
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def find_rate(
    experiment: Path,
    arguments: Sequence[str],
    root: Path,
    member: int,
    steps: int,
    batches: int,
    as_json: bool,
) -> None:
    """Try a member's training at a rate that grows at every step, on one process: where
    the loss falls, where it diverges.

    Prepares the data if need be; writes nothing else.
    """
    from pipeline.stages.prepare import prepare
    from pipeline.tools import find_rate as stage

    if is_rank():
        raise InputError("find-rate runs on one process; go without torchrun")
    run = load_study(experiment, arguments).trained_member(member)
    prepare(run.data, root)
    test = stage.find_rate(run, root, steps, batches)
    print(test.as_json() if as_json else test.text())


@click.group()
def benchmark() -> None:
    """Measure speed on this machine, ours beside what people usually write."""


def _measurement(
    what: str, short: str, doc: str, rounds: int, images: int = 4, input_size: int = 224
) -> None:
    """Add the command `benchmark WHAT`, which calls `benchmark_WHAT` of
    pipeline/benchmarks/WHAT.py.
    """

    @benchmark.command(
        what,
        short_help=short,
        help=doc,
        epilog=f"Example: going-deeper benchmark {what} --data FOLDER",
    )
    @click.option(
        "--data", type=PATH, help="Folder of photographs.  [default: two that scikit-learn ships]"
    )
    @click.option(
        "--rounds",
        type=click.IntRange(1, 10_000),  # as BenchmarkConfig's
        default=rounds,
        show_default=True,
        help="Turns of each contender.",
    )
    @click.option(
        "--images",
        type=click.IntRange(1, MOST),
        default=images,
        show_default=True,
        help="Photographs taken from --data.",
    )
    @click.option(
        "--input-size", type=int, default=input_size, show_default=True, help="A multiple of 14."
    )
    @ROOT
    def command(data: Path | None, rounds: int, images: int, input_size: int, root: Path) -> None:
        from pipeline.reporting.wording import templates

        fields = {
            "what": what,
            "input_size": input_size,
            "rounds": rounds,
            "num_images": images,
            "path": data,
        }
        try:
            config = BenchmarkConfig.model_validate(fields)
        except ValidationError as error:
            raise InputError(one_line(error)) from None
        module = import_module(f"pipeline.benchmarks.{what}")
        facts = getattr(module, f"benchmark_{what}")(config, root)
        print(templates().get_template(f"benchmark_{what}.txt").render(dict(facts)))
        print(f"figures: {root / config.folder / config.last_file}")


_measurement(
    "evaluate",
    "Time 144 crops of photographs through GoogLeNet.",
    """144 crops of photographs through GoogLeNet: naive, careful, compiled, ours.

    All on one core, interleaved. Some 25 seconds a round on a fast core, and a minute to
    compile. The peers and the rules are in pipeline/benchmarks.
    """,
    rounds=7,
)
_measurement(
    "prepare",
    "Time the way of images from an archive into shards.",
    """Images from a raw archive into shards, beside reading and hashing alone.

    All on one core, interleaved. 2400 ImageNet photographs are about one shard; fewer are
    taken again and again.
    """,
    rounds=7,
    images=2400,
)
_measurement(
    "train",
    "Time a training step and its loader.",
    """A training step and its loader: torchvision's GoogLeNet and ours.

    All on one core, interleaved. Some 30 seconds a round.
    """,
    rounds=5,
)


@benchmark.command(epilog="Example: going-deeper benchmark streams")
@click.option(
    "--rounds",
    type=click.IntRange(1, 10_000),
    default=3,
    show_default=True,
    help="Times that each is measured; the best counts.",
)
def streams(rounds: int) -> None:
    """What evaluation and validation leave of a device's rate.

    The device is a stand-in: it takes a fixed time for each crop and leaves the
    processor free. The images are tiny. Some 12 seconds a round.
    """
    from pipeline.benchmarks.streams import measure

    for share in measure(rounds):
        print(share)
