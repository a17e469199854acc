"""The benchmark of max pools: benchmark pools."""

import click


@click.command(
    short_help="Time every max pool, ours beside torch's.",
    epilog="Example: going-deeper benchmark pools",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 10_000),
    default=9,
    show_default=True,
    help="Pairs of turns of each pool.",
)
def pools(rounds: int) -> None:
    """Every max pool of a training step, ours beside torch's, forward and gradient.

    From 42 px and a tenth of the channels to the paper's network, in both types, on one
    core; torch's pools have our norm beside them. Some 3 seconds a round.
    """
    from pipeline.benchmarks.pools import measure, text

    for line in text(measure(rounds)):
        print(line)
