"""A shard's pieces -> its rows, and what became of every file. Runs in any process, in
any order.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from pipeline.artefacts.shards import Record, Rejected, ShardNote, read_note, write_shard
from pipeline.configs.prepare import PhotographsConfig, PrepareConfig
from pipeline.configs.reencode import ReencodeConfig
from pipeline.errors import InputError
from pipeline.images import decode as images
from pipeline.runtime import disk
from pipeline.sources import tar as archives
from pipeline.sources.base import Archive, Piece, Source, SourceFile

SHARDS = "shards"


class Shard(NamedTuple):
    """A file to write, and the pieces that it is made of."""

    name: str
    pieces: list[Piece]

    @property
    def num_bytes(self) -> int:
        """Count the bytes of the source."""
        return sum(max(piece.size, 0) for piece in self.pieces)


class Done(NamedTuple):
    """A step of the work that is done: bytes read, images found."""

    num_bytes: int
    num_images: int


def plan_shards(pieces: Iterable[Piece], shard_bytes: int) -> list[Shard]:
    """Runs of pieces of one split, closed when they reach a size: a function of the
    source alone.

    >>> splits = {"a": "train", "b": "val", "c": "val"}
    >>> pieces = [Piece(split, key, 0, 9) for key, split in splits.items()]
    >>> [shard.name for shard in plan_shards(pieces, 9)]
    ['train-00000.arrow', 'val-00000.arrow', 'val-00001.arrow']
    """
    shards: list[Shard] = []
    count: Counter[str] = Counter()
    size, split = shard_bytes, ""
    for piece in pieces:
        if size >= shard_bytes or piece.split != split:
            shards.append(Shard(f"{piece.split}-{count[piece.split]:05d}.arrow", []))
            count[piece.split] += 1
            size, split = 0, piece.split
        shards[-1].pieces.append(piece)
        size += max(piece.size, 0)
    return shards


class Work(NamedTuple):
    """Whatever a worker needs to do any step: `folder` is for the shards of this plan,
    and a note on each shard and archive. `plan` stands for the files of the source.
    """

    folder: Path
    plan: str
    classes: list[str]
    read: Callable[[Piece], Iterator[SourceFile]]
    is_known: bool
    reencode: ReencodeConfig | None

    def do(self, step: Shard | Archive) -> Done:
        """Make a shard, or check an archive, and note it.

        Raises:
            InputError: the archive is damaged, or not the one that it should be.
        """
        return self.check_archive(step) if isinstance(step, Archive) else self.fill(step)

    def is_done(self, step: Shard | Archive) -> bool:
        """Whether an earlier attempt completed a step."""
        if isinstance(step, Archive):
            return (self.folder / f"{step.path.name}.md5").exists()
        path, note = self.folder / step.name, self.note(step.name)
        is_ours = note is not None and note.plan in (None, self.plan)
        if is_ours and note and path.is_file() and path.stat().st_size == note.num_bytes:
            return True
        if note is not None or path.with_name(f"{path.name}.json").exists():
            print(
                f"{path}: it or its note is damaged or another's; both are made again",
                file=sys.stderr,
            )
        return False

    def note(self, shard: str) -> ShardNote | None:
        """Read the note on a shard."""
        return read_note(self.folder / f"{shard}.json")

    def fill(self, shard: Shard) -> Done:
        """Make a shard and note it."""
        split = shard.pieces[0].split
        files, usable, unreadable = Counter[int](), Counter[int](), Counter[int]()
        left_out = Counter[str]()
        rejected: list[Rejected] = []

        def rows() -> Iterator[Record]:
            for file in chain.from_iterable(map(self.read, shard.pieces)):
                if file.clutter:
                    left_out[file.clutter] += 1
                    continue
                files[file.label] += 1
                try:
                    record = self._record(file)
                except images.BadImage as error:
                    keeps_slot = split == "val" and file.encoded is not None and file.is_image
                    rejected.append(Rejected(split, file.name, str(error), keeps_slot))
                    if keeps_slot and file.encoded is not None:
                        unreadable[file.label] += 1
                        digest = hashlib.sha256(file.encoded).hexdigest()
                        yield Record(file.name, file.encoded, file.label, 0, 0, digest)
                else:
                    usable[file.label] += 1
                    yield record

        sizes: list[int] = []
        records = _measured(rows(), sizes)
        digest = write_shard(self.folder / shard.name, self.classes, records, shard.num_bytes)
        path = self.folder / shard.name
        note = ShardNote(
            plan=self.plan,
            name=shard.name,
            digest=digest,
            num_bytes=path.stat().st_size,
            image_bytes=sum(sizes),
            files=dict(files),
            images=dict(usable),
            unreadable=dict(unreadable),
            rejected=tuple(rejected),
            left_out=dict(left_out) or None,
        )
        disk.write_atomic(self.folder / f"{shard.name}.json", note.model_dump_json().encode())
        return Done(shard.num_bytes, usable.total())

    def check_archive(self, archive: Archive) -> Done:
        """Read an archive and compare its MD5 with the original's."""
        if (found := archives.md5(archive.path)) != archive.md5:
            raise InputError(archives.wrong_md5(archive.path, found, archive.md5))
        disk.write_atomic(self.folder / f"{archive.path.name}.md5", f"{found}\n".encode())
        return Done(archive.num_bytes, 0)

    def _record(self, file: SourceFile) -> Record:
        if file.encoded is None:
            raise images.BadImage(file.why_not)
        width, height = images.inspect(file.encoded, self.is_known, may_be_cut=file.split == "val")
        digest = hashlib.sha256(file.encoded).hexdigest()
        if self.reencode and file.split == "train":
            smaller = images.shrink(file.encoded, self.reencode.shorter_side, self.reencode.quality)
            if smaller is not None:
                own = hashlib.sha256(smaller).hexdigest()
                width, height = images.inspect(smaller, is_known=True)
                return Record(file.name, smaller, file.label, width, height, own, digest)
        return Record(file.name, file.encoded, file.label, width, height, digest)


def _measured(records: Iterable[Record], sizes: list[int]) -> Iterator[Record]:
    """Yield the records, and append the size of each image."""
    for record in records:
        sizes.append(len(record.image))
        yield record


def plan_of(config: PrepareConfig, source: Source) -> str:
    """Return what stands for the files of a source, as they were last written."""
    text = f"{source.fingerprint} {source.state} {config.shard_mib}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def work_of(
    config: PrepareConfig, source: Source, root: Path
) -> tuple[Work, list[Shard | Archive]]:
    """What is to be done for a data set, and its steps: the archives first, as reading
    one whole takes longest.
    """
    plan = plan_of(config, source)
    folder = root / config.folder / SHARDS / plan
    reencode = config.reencode if isinstance(config, PhotographsConfig) else None
    work = Work(folder, plan, source.classes, source.read, source.is_known, reencode)
    return work, [*source.archives, *plan_shards(source.pieces(), config.shard_mib * 2**20)]
