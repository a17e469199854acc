"""The commands about data sets: data prepare, verify, show."""

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

FOLDERS = click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=PATH)
SHARED_BY = click.option(
    "--processes",
    type=click.IntRange(1, MOST_PROCESSES),
    help="That share the work.  [default: one a core]",
)


@click.group()
def data() -> None:
    """Prepare data sets, check that they are whole, look at them."""


@data.command(
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
@click.option("--train-folder", help="imagefolder: of the class folders.  [default: train]")
@click.option("--val-folder", help="imagefolder: of the validation images.  [default: val]")
@click.option(
    "--val-labels", help="imagefolder: the list of their classes, where they lie in one folder."
)
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
    validation), ilsvrc2012 (the folder of the three archives), datasets (a folder that
    Hugging Face datasets saved, or of parquet files) or hub (WHERE is the data set's
    name there). An interrupted preparation goes on where it stopped.
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


@data.command(
    short_help="Check every image, row and list against its digest.",
    epilog="Example: going-deeper data verify outputs/datasets/550235136daa4528",
)
@FOLDERS
@click.option(
    "--repair", is_flag=True, help="Make damaged files again, from the source; the others stay."
)
@click.option(
    "--source", type=PATH, help="With --repair: where the source lies now.  [default: where it lay]"
)
@ROOT
@SHARED_BY
def verify(
    folders: tuple[Path, ...], repair: bool, source: Path | None, root: Path, processes: int | None
) -> None:
    """Check every image, row and list of data sets against its digest. Without FOLDER:
    of all below the root.
    """
    from pipeline.tools import verify_data as verification

    is_sound = True
    for folder in folders or _some(verification.data_sets(root), root):
        try:
            config, place = verification.config_of(folder)
        except InputError as error:
            if folders:
                raise
            is_sound = False
            print(error)
            continue
        damaged = verification.verify(config, place, processes)
        for state in damaged:
            print(f"{verification.place_of(config, place, state)}: {state.problem}")
        if damaged and repair:
            verification.repair(
                config if source is None else config.but(path=source.absolute()), place, damaged
            )
            print(f"{folder}: repaired, {len(damaged)} files made again")
        elif damaged:
            is_sound = False
            print(
                f"{folder}: to make {len(damaged)} files again from the source: going-deeper data"
                f" verify {folder} --repair"
            )
        else:
            print(f"{folder}: {config.name} is as it was prepared")
    if not is_sound:
        sys.exit(3)


@data.command(
    short_help="Print what data sets hold, and write a contact sheet.",
    epilog="Example: going-deeper data show outputs/datasets/550235136daa4528 --out sheet.html",
)
@FOLDERS
@click.option(
    "--images",
    type=click.IntRange(1, 10_000),  # ours: a page of more shows nothing
    default=60,
    show_default=True,
    help="Of the contact sheet.",
)
@click.option(
    "--out", type=PATH, help="The page to write.  [default: <root>/reports/data-<name>-<hash>.html]"
)
@ROOT
def show(folders: tuple[Path, ...], images: int, out: Path | None, root: Path) -> None:
    """Print what data sets hold, and write a page with a contact sheet. Without FOLDER:
    of all below the root.
    """
    from pipeline.tools import show_data
    from pipeline.tools import verify_data as verification

    chosen = folders or _some(verification.data_sets(root), root)
    if out is not None and len(chosen) > 1:
        raise InputError(
            f"--out {out}: is one page, and these are {len(chosen)} data sets; name one"
        )
    for folder in chosen:
        config, place = verification.config_of(folder)
        page = out or place / "reports" / f"data-{config.name}-{config.hash}.html"
        print(show_data.show(config, place, images, page))
        print(f"page: {page}")


def _some(folders: tuple[Path, ...], root: Path) -> tuple[Path, ...]:
    if not folders:
        raise InputError(f"{root}: holds no complete data set; name a FOLDER or another --root")
    return folders


@data.command(
    short_help="Sort Caltech-101's photographs as RESULTS.md's study had them.",
    epilog="Example: going-deeper data caltech101 101_ObjectCategories.tar.gz caltech101",
)
@click.argument("archive", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("folder", type=PATH)
def caltech101(archive: Path, folder: Path) -> None:
    """Sort Caltech-101's photographs into train/ and val/ as the study of RESULTS.md
    had them.

    ARCHIVE is 101_ObjectCategories.tar.gz, or the caltech-101.zip that it comes in.
    Names and sizes are compared with the list that this program carries. Then
    `going-deeper run caltech101 --data FOLDER` uses them.
    """
    from pipeline.tools.caltech101 import sort_photographs, split_list

    number = sort_photographs(archive, folder)
    print(
        f"{folder}: {number} photographs; a report on them shows content"
        f" {split_list()['content'][:12]}"
    )
