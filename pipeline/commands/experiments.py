"""The list of experiments that ship."""

from pathlib import Path

import click

from pipeline.configs.shipped import experiment_file, names, summary


@click.command(epilog="Example: going-deeper experiments")
def experiments() -> None:
    """List the experiments that ship, and how to run them."""
    formatter = click.HelpFormatter(width=110)
    formatter.write_dl([(name, summary(experiment_file(Path(name)))) for name in names()])
    print(formatter.getvalue())
    print("What it does, costs and takes:  going-deeper run NAME --help")
    print("Run it here:                    going-deeper run NAME")
    print("Write one of your own:          going-deeper init FOLDER")
