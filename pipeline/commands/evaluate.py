"""The evaluation of any classifier, without an experiment file."""

from pathlib import Path
from typing import Any, get_args

import click

from pipeline.commands.arguments import PATH, PRECISION, PROCESSES, ROOT, choices
from pipeline.commands.local import is_first
from pipeline.commands.missing import run_missing, show_name
from pipeline.commands.values import FIELDS, Model, Names, Triple
from pipeline.configs.crops import CropsConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.other_network import MOST_PIXELS
from pipeline.configs.study import Study
from pipeline.errors import InputError
from pipeline.paper.policies import CURVE
from pipeline.paper.published import PublishedId
from pipeline.tools.external import foreign_study


@click.command(
    epilog=(
        "Example: going-deeper evaluate --arch torchvision:squeezenet1_1 --weights"
        " squeezenet.safetensors --data photographs --classes classes.txt\n\n"
        "There squeezenet.safetensors has the weights, photographs/<class>/ the images, and"
        " classes.txt the classes in the order of the network's outputs, one a line; a class's"
        " line is the name of its folder."
    ),
    context_settings={"max_content_width": 100},
)
@click.option(
    "--arch",
    help=(
        "googlenet, torchvision:NAME, timm:NAME, or FILE.py:FUNCTION(num_classes).  [default: what"
        " a config.json of timm's beside the weights says]"
    ),
)
@click.option(
    "--weights",
    type=PATH,
    help="A .caffemodel, .safetensors, .pt, .pth, .ckpt or .bin file, or a folder with one.",
)
@click.option(
    "--weights-key",
    metavar="KEY",
    help="Which set of weights, where the file holds several, such as model_ema.",
)
@click.option(
    "--model",
    "models",
    type=Model(),
    multiple=True,
    help=(
        "In place of --arch and what belongs to it, for each network of an ensemble: such as"
        " arch=timm:resnet50,weights=FILE,input_size=224,mean=124/116/104."
    ),
)
@click.option(
    "--data",
    type=PATH,
    required=True,
    help=(
        "Folder with val/<class>/, <class>/, files named <class>_*, or ILSVRC's val tar and devkit."
    ),
)
@click.option(
    "--classes",
    type=PATH,
    help=(
        "The classes in the order of the outputs: a name or a wnid a line, or"
        " imagenet_class_index.json.  [default: the folders, sorted]"
    ),
)
@click.option(
    "--blacklist",
    type=PATH,
    help=(
        "ILSVRC2014_clsloc_validation_blacklist.txt: measure also without its 1,762 images, as"
        " Inception-v3 and v4 were."
    ),
)
@click.option(
    "--input-size",
    type=click.IntRange(32, MOST_PIXELS),
    help="Side of the input in pixels.  [default: the architecture's]",
)
@click.option(
    "--mean",
    type=Triple(),
    help="R,G,B in 0..255 (B,G,R for bgr), subtracted.  [default: the architecture's]",
)
@click.option(
    "--std", type=Triple(), help="R,G,B divisor after that.  [default: the architecture's]"
)
@click.option(
    "--channel-order", type=click.Choice(["rgb", "bgr"]), help="[default: the architecture's]"
)
@click.option(
    "--transform-input/--no-transform-input",
    default=None,
    help=(
        "torchvision's googlenet and inception_v3 only.  [default: on for torchvision's own files]"
    ),
)
@click.option(
    "--published-as",
    type=click.Choice(get_args(PublishedId)),
    help=(
        "Judge them on published errors: R7 torchvision's GoogLeNet, R8 Caffe's.  [default: by the"
        " digest of the file]"
    ),
)
@click.option(
    "--real-labels",
    type=PATH,
    help="ImageNet-ReaL's real.json: also the errors by its labels, several an image.",
)
@PRECISION
@click.option(
    "--compile/--no-compile",
    "compiled",
    default=False,
    help="torch.compile; pays from some hundred images.",
)
@click.option(
    "--policies",
    type=Names(),
    default=",".join(CURVE),
    show_default=True,
    help="Also vgg_150, v3_12, dense, resnet_dense, crops_144_max ...",
)
@choices(CropsConfig, usual={"resize": "the architecture's, or pil_bilinear"})
@ROOT
@PROCESSES
def evaluate(**options: Any) -> None:
    """Measure any classifier on up to 144 crops, under the paper's protocol, every
    count from one pass.

    A policy is a set of crops and how they are averaged: crops_1 to crops_144 (the
    paper's), vgg_150, v3_12, each also with _max or _geometric behind it; dense for
    GoogLeNet and resnet_dense for any network on whole images. The last options settle
    what the paper leaves open.
    """
    root, processes = options.pop("root"), options.pop("processes")
    real_labels = options.pop("real_labels")
    _refuse_both(options, real_labels)
    study = foreign_study(**options)
    labels = _read_real_labels(real_labels, study)
    run_missing(study, root, None, processes)
    if labels is not None and is_first():
        from pipeline.tools.real_labels import real_errors

        for line in real_errors(_evaluation(study), root, labels, real_labels):
            print(line)
    show_name(study, root)


def _refuse_both(options: dict[str, Any], real_labels: Path | None) -> None:
    """Refuse options of one network beside several."""
    if not options["models"]:
        return
    alone = [name for name in (*FIELDS, "published_as") if options[name] is not None]
    alone += ["real_labels"] if real_labels else []
    if alone:
        option = f"--{alone[0].replace('_', '-')}"
        raise InputError(f"{option}: is of a single network; go without it, or without --model")


def _read_real_labels(path: Path | None, study: Study) -> list[list[int]] | None:
    """Return other labels, after a look whether the data is what they are for."""
    if path is None:
        return None
    from pipeline.tools.real_labels import read_real_labels, refuse_other_images

    labels = read_real_labels(path)
    refuse_other_images(_evaluation(study), path)
    return labels


def _evaluation(study: Study) -> EvaluateConfig:
    return study.check.results[0].members[0]
