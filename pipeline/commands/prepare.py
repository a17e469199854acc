"""The command data prepare."""

import sys
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from pipeline.commands.arguments import MOST_PROCESSES, PATH, ROOT
from pipeline.configs.prepare import SOURCES, PrepareConfig, name_of
from pipeline.configs.reencode import ReencodeConfig
from pipeline.configs.wrong_fields import one_line
from pipeline.errors import InputError, StageFailed

SHARED_BY = click.option(
    "--processes",
    type=click.IntRange(1, MOST_PROCESSES),
    help="That share the work.  [default: one a core]",
)


@click.command(
    short_help="Store a source's images as shards, checked and digested.",
    epilog="Example: going-deeper data prepare ilsvrc2012 /datasets/ilsvrc --name imagenet",
)
@click.argument("source", type=click.Choice(["auto", *SOURCES]))
@click.argument("where", required=False)
@click.option(
    "--name", help="What it holds; a study names its data so too.  [default: of the source]"
)
@click.option(
    "--trust-archives",
    is_flag=True,
    help="ilsvrc2012: these are not the originals; decode every image.",
)
@click.option("--only-val", is_flag=True, help="Leave the training images out.")
@click.option("--hub-config", help="hub: which of its configurations, such as 320px.")
@click.option("--revision", help="hub: the commit, 40 hex digits.")
@click.option("--train-split", help="hub, datasets: what it calls the split.  [default: train]")
@click.option("--val-split", help="hub, datasets: what it calls the split.  [default: validation]")
@click.option("--label-column", help="hub, datasets: of the labels, where several could be.")
@click.option(
    "--classes",
    type=PATH,
    help="A file that names the classes in order, where folders or labels do not.",
)
@click.option("--train-folder", help="imagefolder: of the class folders.  [default: train]")
@click.option("--val-folder", help="imagefolder: of the validation images.  [default: val]")
@click.option(
    "--val-labels", help="imagefolder: the list of their classes, where they lie in one folder."
)
@click.option(
    "--train-list", help="listed: the table of path and label, or of path, label and split."
)
@click.option("--val-list", help="listed: the table of the validation images, if another.")
@click.option(
    "--shorter-side",
    type=int,
    help="Store larger training images anew, this small.  [default: as they are]",
)
@click.option(
    "--check",
    is_flag=True,
    help="Compare the content of each file with what was prepared; change nothing.",
)
@click.option("--shard-mib", type=int, help="Size of a shard in MiB.  [default: 256]")
@ROOT
@SHARED_BY
def prepare(
    source: str,
    where: str | None,
    root: Path,
    processes: int | None,
    shorter_side: int | None,
    check: bool,
    **options: Any,
) -> None:
    """Store a source's images as shards that are checked, digested and read at full
    speed.

    SOURCE is auto (what lies in the folder says which, and how it is read), digits,
    imagefolder (train/<class>/ and val/<class>/), labelled_folder
    (images to evaluate on), unsplit_folder (<class>/, of which a fifth is for
    validation), ilsvrc2012 (the folder of the three archives), webdataset (tar files of
    KEY.jpg with KEY.cls or KEY.json), listed (images that tables of path and label
    name), datasets (a folder that Hugging Face datasets saved, or of parquet files) or
    hub (WHERE is the data set's name there). An interrupted preparation goes on where
    it stopped.
    """
    from pipeline.stages import prepare as preparation

    fields = {
        name: value for name, value in options.items() if value is not None and value is not False
    }
    if where is None and source != "digits":
        raise InputError(
            f"data prepare {source}: needs WHERE,"
            f" {'a name on the Hub' if source == 'hub' else 'a folder'}"
        )
    if options["classes"] is not None:
        fields["classes"] = _read_classes(options["classes"])
    if source == "auto":
        source, fields = _recognised(Path(str(where)).absolute(), fields)
    fields |= {"hub": where} if source == "hub" else {"path": where and Path(where).absolute()}
    fields["source"] = source
    fields["name"] = name_of(Path(where) if where else None, options["name"], source)
    try:
        if shorter_side is not None:
            fields["reencode"] = ReencodeConfig(shorter_side=shorter_side)
        config = PrepareConfig.model_validate(fields)
    except ValidationError as error:
        raise InputError(one_line(error)) from None
    if check:
        _check_source(config, root, processes)
        return
    dataset = preparation.prepare(config, root, processes)
    print(f"data set: {dataset.folder}")


def _read_classes(path: Path) -> tuple[str, ...]:
    from pipeline.sources.class_lists import read_classes

    names, remark = read_classes(path)
    if remark:
        print(remark, file=sys.stderr)
    return names


def _recognised(where: Path, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the source of a folder and its fields, and say what was seen."""
    from pipeline.sources.layouts import recognise_layout

    layout = recognise_layout(where)
    print(
        f"{where}: {layout.words}; as going-deeper data prepare {layout.command}", file=sys.stderr
    )
    return layout.fields["source"], layout.fields | fields


def _check_source(config: PrepareConfig, root: Path, processes: int | None) -> None:
    """Say whether a source still has the content that was prepared."""
    from pipeline.tools import verify_data as verification

    if other := verification.source_differs(config, root, processes):
        raise StageFailed(
            f"{root / config.folder}: the source has other content now: the files of"
            f" {', '.join(other[:5])}{' and more' * (len(other) > 5)}; to use it, prepare it under"
            " another --root or --name"
        )
    print(f"{root / config.folder}: the source has the content that was prepared")
