"""A training on one's own classes, without an experiment file."""

from pathlib import Path
from typing import Any

import click

from pipeline.commands.arguments import PATH, PRECISION, PROCESSES, ROOT
from pipeline.commands.missing import run_missing, show_name
from pipeline.configs.network import MOST_WIDTH
from pipeline.configs.other_network import MOST_PIXELS
from pipeline.configs.train import MOST_EPOCHS


@click.command(epilog="Example: going-deeper finetune photographs --weights model.safetensors")
@click.argument("folder", type=PATH)
@click.option(
    "--weights",
    type=PATH,
    help="To begin with: a file of a run or an export of ours, Caffe's .caffemodel, or that of"
    " --arch.  [default: none]",
)
@click.option(
    "--arch",
    help="timm:NAME, torchvision:NAME or FILE.py:FUNCTION(num_classes).  [default: GoogLeNet]",
)
@click.option(
    "--weights-key",
    metavar="KEY",
    help="Which set of weights, where the file holds several, such as model_ema.",
)
@click.option(
    "--freeze",
    "frozen",
    multiple=True,
    metavar="PART",
    help="A module that keeps its weights, such as conv1 or inceptions.3a; may be repeated.",
)
@click.option("--name", help="What FOLDER holds, for reports.  [default: the folder's name]")
@click.option(
    "--epochs",
    type=click.FloatRange(0, MOST_EPOCHS, min_open=True),
    help="[default: by the number of images]",
)
@click.option(
    "--input-size",
    type=click.IntRange(32, MOST_PIXELS),
    help="A multiple of 14 for GoogLeNet.  [default: that of the weights, or 112]",
)
@click.option(
    "--width",
    type=click.FloatRange(0, MOST_WIDTH, min_open=True),
    help="Of the network.  [default: that of the weights, or 0.5]",
)
@PRECISION
@ROOT
@PROCESSES
def finetune(folder: Path, root: Path, processes: int | None, **options: Any) -> None:
    """Train a network on classes of your own, evaluate it, and report.

    FOLDER has train/<class>/ and val/<class>/, or <class>/ alone: then a fifth of each
    class is for validation, chosen by the digests of its files. The recipe suits some
    hundreds to some ten thousands of images; configs/recipes.py has its constants.
    """
    from pipeline.artefacts.run import Run
    from pipeline.tools.finetune import finetune_study

    study, run, words = finetune_study(folder, **options)
    print(words)
    run_missing(study, root, None, processes)
    print(f"weights: {Run(run, root).weights_file('averaged')}")
    show_name(study, root)
