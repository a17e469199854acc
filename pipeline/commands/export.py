"""Networks for use elsewhere: a trained one, or Caffe's."""

from collections.abc import Callable
from pathlib import Path

import click

from pipeline.commands.arguments import PATH, study_command
from pipeline.commands.values import Place
from pipeline.configs.study import Study
from pipeline.runtime.extras import require

FOLDER = Place(file_okay=False, path_type=Path)
PUSH = click.option(
    "--push",
    metavar="OWNER/NAME",
    help="Also put it on the Hugging Face Hub, with the token in HF_TOKEN or of the login.",
)
LICENCE = "An identifier of the Hub, such as apache-2.0.  [default: {}]"


@study_command("going-deeper export demo --member 0 --into exported")
@click.option(
    "--member", type=int, default=0, show_default=True, help="Which member of the study, from 0."
)
@click.option("--into", type=FOLDER, required=True, help="Folder to write to.")
@click.option("--license", "licence", help=LICENCE.format("other, the terms of the data set"))
@PUSH
def export(
    study: Study, root: Path, member: int, into: Path, licence: str | None, push: str | None
) -> None:
    """Write a trained member for timm and the Hub: safetensors, ONNX, config, card.

    `import going_deeper.timm`, and timm.create_model("local-dir:FOLDER",
    pretrained=True) makes the network.
    """
    require("onnx", "onnx", "onnxscript")
    # late, as in every command that loads much: --help and completion do not need it
    from pipeline.tools import export as stage

    _write(lambda: stage.export(study, root, member, into, licence), push)


@click.command(
    epilog="Example: going-deeper convert bvlc_googlenet.caffemodel --out bvlc_googlenet"
)
@click.argument("file", type=PATH)
@click.option("--out", "into", type=FOLDER, required=True, help="Folder to write to.")
@click.option(
    "--classes",
    type=PATH,
    help="A class a line, in the order of the outputs, such as Caffe's synset_words.txt."
    "  [default: no names]",
)
@click.option("--license", "licence", help=LICENCE.format("BVLC's for its own file, else unknown"))
@PUSH
def convert(
    file: Path, into: Path, classes: Path | None, licence: str | None, push: str | None
) -> None:
    """Turn Caffe's GoogLeNet, a .caffemodel, into what export writes.

    The weights stay as they are, bit for bit, auxiliary heads too.
    """
    require("onnx", "onnx", "onnxscript")
    from pipeline.tools import convert as stage

    _write(lambda: stage.convert(file, into, classes, licence), push)


def _write(write: Callable[[], Path], repository: str | None) -> None:
    """Write a folder, and push it; a missing token is told before any work."""
    if repository is None:
        print(write())
        return
    from pipeline.tools.push import push, token_for

    token = token_for(repository)
    folder = write()
    print(folder)
    print(push(folder, repository, token))
