"""Sort Caltech-101's photographs into training and validation as RESULTS.md's study had
them.
"""

import re
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import IO, Any

from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.runtime import disk
from pipeline.sources.registry import open_source

INSIDE = "101_ObjectCategories"
PHOTOGRAPH = re.compile(rf"(?:.*/)?{INSIDE}/([A-Za-z0-9_]+)/image_(\d{{4}})\.jpg")
MOST_BYTES = 16 * 2**20  # ours: of a photograph; the largest has some 400 kB


@cache
def split_list() -> dict[str, Any]:
    """Return the committed list: numbers by class and split, and the data's digests."""
    text = resources.files("pipeline.sources").joinpath("caltech101.toml").read_text()
    return tomllib.loads(text)


def places() -> dict[tuple[str, int], str]:
    """Return the split of each photograph, by class and number.

    >>> places()["accordion", 1]
    'train'
    """
    return {
        (name, number): split
        for name, of_class in split_list()["classes"].items()
        for split, ranges in of_class.items()
        for number in _numbers(ranges)
    }


def sort_photographs(archive: Path, folder: Path) -> int:
    """Write the photographs of an archive to `folder`, and return their number.

    The archive is 101_ObjectCategories.tar.gz, or the caltech-101.zip that it comes in.
    The folder then has train/<class>/ and val/<class>/. It appears whole or not at all.

    Raises:
        InputError: the archive is not Caltech-101's, lacks a photograph or has others,
            or the folder exists.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists already; expected a folder that does not")
    missing = places()
    with disk.beside(folder) as scratch, _opened(archive) as tar:
        for member in tar:
            match = PHOTOGRAPH.fullmatch(member.name)
            split = missing.pop((match[1], int(match[2])), None) if match else None
            if match is None or split is None:
                continue
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or member.size > MOST_BYTES:
                raise InputError(f"{archive}: {member.name} is no photograph of Caltech-101's")
            path = scratch / split / match[1] / f"image_{match[2]}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
        if missing:
            name, number = next(iter(missing))
            raise InputError(
                f"{archive}: has no {INSIDE}/{name}/image_{number:04d}.jpg, and lacks"
                f" {len(missing)} of {len(places())} photographs in all; expected Caltech-101's"
                " 101_ObjectCategories.tar.gz, or the caltech-101.zip around it"
            )
        made = PrepareConfig(source="imagefolder", name="caltech101", path=scratch)
        if open_source(made).fingerprint != split_list()["fingerprint"]:
            raise InputError(
                f"{archive}: its photographs have other sizes than those of RESULTS.md's study"
            )
        disk.rename(scratch, folder)
    return len(places())


def _numbers(ranges: str) -> Iterator[int]:
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as whole:
                inner = [name for name in whole.namelist() if name.endswith(f"{INSIDE}.tar.gz")]
                if not inner:
                    raise InputError(f"{archive}: has no {INSIDE}.tar.gz")
                with whole.open(inner[0]) as file, _tar(file) as tar:
                    yield tar
        else:
            with archive.open("rb") as file, _tar(file) as tar:
                yield tar
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"{archive}: cannot be read ({error}); expected {INSIDE}.tar.gz or caltech-101.zip"
        ) from None


def _tar(file: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=file, mode="r|*")
