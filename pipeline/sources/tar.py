"""Tar archives read where they lie: nothing is extracted, and no path in them is used
as one.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import InputError
from pipeline.images.decode import MAX_BYTES
from pipeline.sources.base import SourceFile, text_of

READ_BYTES = 2**20
# ours: zeros behind the last member; more is a hole that a download left
PADDING_BYTES = 2 * tarfile.RECORDSIZE
CHECKED_BYTES = 2**20  # ours: at both ends of an archive, to tell it from others of its size
# what tarfile raises on damaged headers; a chain of long names ends in the third
DAMAGED = (tarfile.TarError, ValueError, RecursionError, OverflowError)


class Member(NamedTuple):
    """A member's name as it is written, and where its bytes lie in the file; None if it
    is a link, a device or has holes.
    """

    name: str
    size: int
    offset: int | None


class _Headers(io.FileIO):
    """A file of which tarfile reads headers only: one that claims a long name of
    gigabytes is damaged.
    """

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= READ_BYTES:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return super().read(size) or b""


@lru_cache(maxsize=8)
def _descriptor(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


def members(path: Path, start: int = 0, stop: int | None = None) -> Iterator[Member]:
    """The members of a tar archive that is the bytes `start` to `stop` of a file; its
    folders are left out.

    Raises:
        InputError: the archive is damaged, has a hole or ends early; the message names
            the byte.
    """
    end = path.stat().st_size
    stop = end if stop is None else stop
    last, offset = "the first member", start
    with _Headers(path) as file, suppress(*DAMAGED):
        file.seek(start)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                if info.offset >= stop:  # of an archive behind this one, which lacks its end marker
                    return
                if not (
                    info.size >= 0
                    and offset < info.offset_data
                    and info.offset_data + info.size <= min(stop, end)
                ):
                    break
                last, offset = f"member {text_of(info.name)!r}", info.offset_data
                if not info.isdir():
                    is_file = (
                        info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not info.issparse()
                    )
                    yield Member(info.name, info.size, offset if is_file else None)
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep every header
            else:
                offset = archive.offset
                if (
                    end >= stop
                    and stop - offset <= PADDING_BYTES
                    and not read_at(path, offset, stop - offset).strip(b"\0")
                ):
                    return
    raise InputError(
        f"{path}: is damaged or ends early, after {last}, at byte {offset}; expected a whole tar"
        " archive"
    )


def read_at(path: Path, offset: int, size: int) -> bytes:
    """Bytes of a file; fewer where it ends."""
    return os.pread(_descriptor(path), size, offset)


def file_of(path: Path, split: str, name: str, label: int, member: Member) -> SourceFile:
    """Return a member of a tar archive as a file of a source, under a name.

    Raises:
        InputError: the archive ends within it.
    """
    _, size, offset = member
    if offset is None:
        return SourceFile(split, name, label, None)
    if size > MAX_BYTES:
        return SourceFile(split, name, label, None, f"has {size} bytes, more than {MAX_BYTES}")
    encoded = read_at(path, offset, size)
    if len(encoded) < size:
        raise InputError(f"{path}: ends within {name}; expected a whole tar archive")
    return SourceFile(split, name, label, encoded)


def md5(path: Path) -> str:
    """MD5 of a file, in hex."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def wrong_md5(path: Path, found: str, original: str) -> str:
    """The message for the user about a wrong MD5."""
    hint = "fetch it again, or say --trust-archives if it is another archive on purpose"
    return f"{path}: has MD5 {found}, the original has {original}; {hint}"


def ends_digest(path: Path) -> str:
    """SHA-256 of a file's size and of both its ends."""
    size = path.stat().st_size
    digest = hashlib.sha256(f"{size} ".encode())
    digest.update(read_at(path, 0, CHECKED_BYTES))
    digest.update(read_at(path, max(0, size - CHECKED_BYTES), CHECKED_BYTES))
    return digest.hexdigest()
