"""A trained network, for use elsewhere."""

from pathlib import Path

import click

from pipeline.commands.arguments import PATH, study_command
from pipeline.configs.study import Study
from pipeline.runtime.extras import require


@study_command("going-deeper export demo --member 0 --into exported")
@click.option(
    "--member", type=int, default=0, show_default=True, help="Which member of the study, from 0."
)
@click.option("--into", type=PATH, required=True, help="Folder to write to.")
def export(study: Study, root: Path, member: int, into: Path) -> None:
    """Write a trained member as safetensors and ONNX, with a model card."""
    require("onnx", "onnx", "onnxscript")
    # late, as in every command that loads much: --help and completion do not need it
    from pipeline.tools import export as stage

    print(stage.export(study, root, member, into))
