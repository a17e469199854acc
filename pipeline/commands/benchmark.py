"""The commands that measure speed: benchmark evaluate, full-scale, pools, prepare,
scaling, streams, train.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import ValidationError

from pipeline.commands.arguments import MOST, PATH, ROOT, SITE
from pipeline.commands.benchmark_pools import pools
from pipeline.commands.stand_ins import full_scale, streams
from pipeline.commands.values import Counts
from pipeline.configs.benchmark import CONTENDER_GROUPS, BenchmarkConfig, ScalingConfig
from pipeline.configs.network import MOST_WIDTH, Precision
from pipeline.configs.wrong_fields import one_line
from pipeline.errors import InputError
from pipeline.runtime import ranks as ranks_here
from pipeline.runtime.device import refuse_missing, refuse_without_gpu
from slurm.scaling import launch_on
from slurm.site import load_site


@click.group()
def benchmark() -> None:
    """Measure speed on this machine, ours beside what people usually write."""


def _measurement(
    what: str,
    short: str,
    doc: str,
    rounds: int,
    images: int = 4,
    devices: tuple[str, ...] = ("cpu", "cuda"),
    options: Sequence[Callable[[Any], Any]] = (),
) -> None:
    """Add `benchmark WHAT`, which calls `benchmark_WHAT` of pipeline/benchmarks.

    `options` are more fields of its config.
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
        "--input-size", type=int, default=224, show_default=True, help="A multiple of 14."
    )
    @click.option(
        "--device",
        type=click.Choice(devices),
        default="cpu",
        show_default=True,
        help="One core, or the first GPU." if "cuda" in devices else "One core.",
    )
    @ROOT
    def command(data: Path | None, images: int, root: Path, **fields: Any) -> None:
        from pipeline.reporting.wording import templates

        try:
            config = BenchmarkConfig(what=what, num_images=images, path=data, **fields)  # type: ignore[arg-type]
        except ValidationError as error:
            raise InputError(one_line(error)) from None
        refuse_missing(config.device)
        module = import_module(f"pipeline.benchmarks.{what}")
        facts = getattr(module, f"benchmark_{what}")(config, root)
        text = templates().get_template(f"benchmark_{what}.txt")
        print(text.render(dict(facts), is_gpu=config.device == "cuda"))
        print(f"figures: {root / config.folder / config.last_file}")

    for option in options:
        option(command)


WIDTH = click.option(
    "--width",
    type=click.FloatRange(0, MOST_WIDTH, min_open=True),
    default=1.0,
    show_default=True,
    help="Factor on the network's channels.",
)
_measurement(
    "evaluate",
    "Time 144 crops of photographs through GoogLeNet.",
    """144 crops of photographs through GoogLeNet: naive, careful, compiled, ours, and in
    ONNX Runtime and OpenVINO where the extra "peers" is installed.

    All on one core or GPU, interleaved. Some 50 seconds a round on a fast core, and
    five minutes to compile and to choose batches. The naive one always takes part. The
    peers and the rules are in pipeline/benchmarks.
    """,
    rounds=7,
    options=(
        WIDTH,
        click.option(
            "--only",
            type=click.Choice(CONTENDER_GROUPS),
            multiple=True,
            help="Time this group alone; repeatable.  [default: all]",
        ),
    ),
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
    devices=("cpu",),
)
_measurement(
    "train",
    "Time a training step and its loader.",
    """A training step and its loader: torchvision's GoogLeNet and ours.

    All on one core or GPU, interleaved. Some 30 seconds a round.
    """,
    rounds=5,
    options=(WIDTH,),
)


@benchmark.command(
    short_help="Time a training step on several numbers of ranks.",
    epilog="Example: going-deeper benchmark scaling --ranks 1,2 --batches 16,32",
)
@click.option("--ranks", type=Counts(), help="Such as 1,2,4.  [default: 1, 2, 4 ... up to all]")
@click.option(
    "--batches",
    type=Counts(),
    default="16,32",
    show_default=True,
    help="Images of each rank in a step.",
)
@click.option("--input-size", type=int, default=224, show_default=True, help="A multiple of 14.")
@click.option("--width", type=float, default=1.0, show_default=True, help="Of the network.")
@click.option(
    "--precision", type=click.Choice(get_args(Precision)), default="bf16", show_default=True
)
@click.option("--compile/--no-compile", "compiled", default=False, help="Compile the step.")
@click.option(
    "--peers/--no-peers",
    default=True,
    show_default=True,
    help="Also time torchvision's GoogLeNet and timm's resnet50, compiled and not.",
)
@click.option(
    "--rounds", type=click.IntRange(1, 10_000), default=5, show_default=True, help="Turns of each."
)
@click.option("--data", "path", type=PATH, help="Folder of photographs.  [default: two]")
@click.option("--site", type=SITE, help="Measure on this site's nodes.  [default: here]")
@ROOT
def scaling(ranks: tuple[int, ...] | None, site: Path | None, root: Path, **fields: Any) -> None:
    """A training step and its loader on 1, 2, 4 ... ranks: weak and strong scaling, the
    shares of computing, of summing gradients and of waiting for images.

    A model of the step is fitted to the measurements; `plan` scales it to other sizes,
    batches and ranks. On a site each number of ranks is a job. A rank has a GPU where
    there is one, and else a core.
    """
    from pipeline.benchmarks.scaling import benchmark_scaling
    from pipeline.benchmarks.scaling_ranks import measure_ranks
    from pipeline.reporting.wording import templates

    place = None if site is None else load_site(site)
    most = (
        ranks_here.num_local() if place is None else place.train.nodes * place.train.tasks_per_node
    )
    usual = tuple(2**k for k in range(most.bit_length()))
    name = "" if site is None else site.stem
    try:
        config = ScalingConfig(ranks=ranks or usual, site=name, **fields)
    except ValidationError as error:
        raise InputError(one_line(error)) from None

    if place is None:
        refuse_without_gpu(config.precision)

    def launch(number: int, folder: Path) -> None:
        if place is None:
            ranks_here.launch(measure_ranks, number, folder)
        else:
            launch_on(place, root, number, folder)

    facts = benchmark_scaling(config, root, launch)
    print(templates().get_template("benchmark_scaling.txt").render(dict(facts)))
    print(f"figures: {root / config.folder / config.last_file}")


benchmark.add_command(full_scale)
benchmark.add_command(pools)
benchmark.add_command(streams)
