"""The benchmarks around made-up content or a pretended device: full-scale, streams."""

from pathlib import Path

import click

from pipeline.commands.arguments import MOST, PATH
from pipeline.configs.prepare import ILSVRC2012_IMAGES


@click.command(
    "full-scale",
    short_help="Time the stages around a whole Table 3.",
    epilog="Example: going-deeper benchmark full-scale --train-images 100000",
)
@click.option(
    "--train-images",
    type=click.IntRange(1000, 10_000_000),  # one a class at least
    default=ILSVRC2012_IMAGES["train"],
    show_default=True,
    help="Training images that are prepared.",
)
@click.option(
    "--val-images",
    type=click.IntRange(100, MOST),
    default=ILSVRC2012_IMAGES["val"],
    show_default=True,
    help="Validation images, with scores by seven members.",
)
@click.option(
    "--epochs",
    type=click.FloatRange(1, 10_000),
    default=250,
    show_default=True,
    help="Length of the trainings whose metrics are read.",
)
@click.option("--folder", type=PATH, help="Where 12 GB are free.  [default: the temporary one]")
def full_scale(train_images: int, val_images: int, epochs: float, folder: Path | None) -> None:
    """Time the stages around a whole Table 3, and their memory, on made-up content.

    Images are tiny, and nothing is trained or classified. Some 10 minutes on two cores;
    nothing is left.
    """
    from pipeline.benchmarks.full_scale import Size, full_scale, text

    for line in text(full_scale(Size(train_images, val_images, epochs), folder)):
        print(line, flush=True)


@click.command(epilog="Example: going-deeper benchmark streams")
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
