"""What every source gives, in the same terms."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.artefacts.contents import Completeness

SPLITS = ("train", "val")
NO_CLASS = -1


class Piece(NamedTuple):
    """What a shard is made of: a file, or an archive of files. `label` is NO_CLASS
    where the files have classes of their own; `size` in bytes, as well as is known
    beforehand; `offset` is what the source needs to find it.
    """

    split: str
    name: str
    label: int
    size: int
    offset: int = 0


class SourceFile(NamedTuple):
    """A file as the source has it: bytes unchecked, or None and why there are none.

    `is_image`: it is meant to be one, so among the validation images it keeps its slot,
        readable or not. `clutter`: it is none of the data, by this pattern.
    """

    split: str
    name: str
    label: int
    encoded: bytes | None
    why_not: str = "not a regular file"
    is_image: bool = True
    clutter: str = ""


class Archive(NamedTuple):
    """A file whose MD5 must be this."""

    path: Path
    md5: str

    @property
    def num_bytes(self) -> int:
        """The size of the source in bytes."""
        return self.path.stat().st_size


class Source(NamedTuple):
    """`fingerprint` is a digest of what tells this source from another, without reading
    every image; `state` changes when a file was written again, so that an interrupted
    preparation does not mix two of them.

    `pieces` lists them in their fixed order; `read` gives a piece's files, in any
    process. `is_known`: `archives` settle that every byte is as it should be, so that
    images need no decoding to be believed. `judge`, given the number of files of each
    split and class, and of those that cannot be used, says what is expected and how
    that compares. `left_out` counts clutter that is in no piece, by pattern; `notes`
    are sentences on the source that a person should read. `is_of_files`: it is a folder
    of image files, whose content the fingerprint does not tell.
    """

    classes: list[str]
    fingerprint: str
    pieces: Callable[[], list[Piece]]
    read: Callable[[Piece], Iterator[SourceFile]]
    state: str = ""
    archives: tuple[Archive, ...] = ()
    is_known: bool = False
    class_words: list[str] | None = None
    judge: Callable[[dict[str, list[int]], int], Completeness] | None = None
    left_out: dict[str, int] | None = None
    notes: tuple[str, ...] = ()
    is_of_files: bool = False


def text_of(name: str) -> str:
    """A name that can be stored as text: bytes that are no UTF-8 are written out.

    >>> text_of("caf\\udce9.jpg")
    'caf\\\\xe9.jpg'
    """
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
