"""The commands about data sets: data prepare, verify, show."""

import sys
from pathlib import Path
from typing import Any, get_args

import click
from pydantic import ValidationError

from pipeline.arguments import PATH, PROCESSES, ROOT
from pipeline.data import SourceKind
from pipeline.experiment import one_line
from pipeline.study import InputError, PrepareConfig, ReencodeConfig

FOLDERS = click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=PATH)


@click.group()
def data() -> None:
    """Prepare data sets, check that they are whole, look at them."""


@data.command(epilog="Example: going-deeper data prepare ilsvrc2012 /datasets/ilsvrc --name imagenet")
@click.argument("source", type=click.Choice(get_args(SourceKind)))
@click.argument("where", required=False)
@click.option("--name", help="What it holds; a study names its data so too.  [default: of the source]")
@click.option("--trust-archives", is_flag=True, help="ilsvrc2012: these are not the originals; decode every image.")
@click.option("--only-val", is_flag=True, help="Leave the training images out.")
@click.option("--hub-config", help="hub: which of its configurations, such as 320px.")
@click.option("--revision", help="hub: the commit, 40 hex digits.")
@click.option("--train-split", help="hub, datasets: what it calls the split.  [default: train]")
@click.option("--val-split", help="hub, datasets: what it calls the split.  [default: validation]")
@click.option("--shorter-side", type=int, help="Store larger training images anew, this small.  [default: as they are]")
@click.option("--shard-mib", type=int, help="Size of a shard in MiB.  [default: 256]")
@ROOT
@PROCESSES
def prepare(source: str, where: str | None, root: Path, processes: int | None, shorter_side: int | None, **given: Any) -> None:
    """Store a source's images as shards that are checked, digested and read at full speed.

    SOURCE is digits, imagefolder (train/<class>/ and val/<class>/), labelled_folder (images to evaluate on), ilsvrc2012 (the
    folder of the three archives), datasets (a folder that Hugging Face datasets saved, or of parquet files) or hub (WHERE is
    the data set's name there). An interrupted preparation goes on where it stopped.
    """
    from pipeline.stages.prepare import prepare as stage

    fields = {name: value for name, value in given.items() if value not in (None, False)}
    fields |= {"hub" if source == "hub" else "path": where, "source": source}
    fields.setdefault("name", (where or source).rstrip("/").rpartition("/")[2])
    try:
        if shorter_side is not None:
            fields["reencode"] = ReencodeConfig(shorter_side=shorter_side)
        config = PrepareConfig.model_validate(fields)
    except ValidationError as error:
        raise InputError(one_line(error)) from None
    made = stage(config, root, processes)
    print(f"data set: {made.folder}")


@data.command(epilog="Example: going-deeper data verify outputs/datasets/550235136daa4528")
@FOLDERS
@click.option("--repair", is_flag=True, help="Make damaged files again, from the source; the others stay.")
@ROOT
@PROCESSES
def verify(folders: tuple[Path, ...], repair: bool, root: Path, processes: int | None) -> None:
    """Check every image, row and list of data sets against its digest. Without FOLDER: of all below the root."""
    from pipeline.stages import verify_data as stage

    is_sound = True
    for folder in folders or stage.data_sets(root):
        config = stage.config_of(folder)
        place = folder.absolute().parent.parent
        damaged = stage.verify(config, place, processes)
        for found in damaged:
            print(f"{folder / found.file}: {found.problem}")
        if damaged and repair:
            stage.repair(config, place, damaged, processes)
            print(f"{folder}: repaired, {len(damaged)} files made again")
        elif damaged:
            is_sound = False
            print(f"{folder}: to make {len(damaged)} files again from the source: going-deeper data verify {folder} --repair")
        else:
            print(f"{folder}: {config.name} is as it was prepared")
    if not is_sound:
        sys.exit(3)


@data.command(epilog="Example: going-deeper data show outputs/datasets/550235136daa4528 --out sheet.html")
@FOLDERS
@click.option("--images", type=click.IntRange(min=1), default=60, show_default=True, help="Of the contact sheet.")
@click.option("--out", type=PATH, help="The page to write.  [default: <root>/reports/data-<name>-<hash>.html]")
@ROOT
def show(folders: tuple[Path, ...], images: int, out: Path | None, root: Path) -> None:
    """Print what data sets hold, and write a page with a contact sheet. Without FOLDER: of all below the root."""
    from pipeline.stages import show_data as stage
    from pipeline.stages.verify_data import config_of, data_sets

    for folder in folders or data_sets(root):
        config = config_of(folder)
        page = out or root / "reports" / f"data-{config.name}-{config.hash}.html"
        print(stage.show(config, folder.absolute().parent.parent, images, page))
        print(f"page: {page}")
