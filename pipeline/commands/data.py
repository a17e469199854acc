"""The commands about data sets: data prepare, verify, show."""

import sys
from pathlib import Path

import click

from pipeline.commands.arguments import PATH, ROOT
from pipeline.commands.prepare import SHARED_BY, prepare
from pipeline.errors import InputError

FOLDERS = click.argument("folders", metavar="[FOLDER]...", nargs=-1, type=PATH)


@click.group()
def data() -> None:
    """Prepare data sets, check that they are whole, look at them."""


data.add_command(prepare)


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
