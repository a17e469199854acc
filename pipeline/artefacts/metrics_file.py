"""metrics.jsonl while a training writes it, and its copy beside the checkpoints."""

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypedDict

from pipeline.artefacts.metrics import Row, rows_in
from pipeline.runtime import disk, remains


class Mark(TypedDict):
    """What a checkpoint knows of the log: its length then, and the digest of its
    bytes.
    """

    num_bytes: int
    sha256: str


class MetricsFile:
    """A log that a resume rewinds to a mark.

    Each mark first adds the rows since the last one to the copy, and syncs it. So the
    log can be made again where it was damaged or lost its end.
    """

    def __init__(self, path: Path, copy: Path):
        self.path, self.copy = path, copy
        self._digest, self._num_bytes = hashlib.sha256(), 0
        self._new: list[bytes] = []  # rows that the copy lacks

    def append(self, row: Row) -> None:
        """Write a row."""
        line = (json.dumps(row) + "\n").encode()
        with disk.named(self.path, len(line)), self.path.open("ab") as file:
            file.write(line)
        self._new.append(line)
        self._count(line)

    def mark(self) -> Mark:
        """Return the mark of the rows so far; from now on the copy has them all."""
        new = b"".join(self._new)
        with disk.named(self.copy, len(new)):
            self.copy.parent.mkdir(parents=True, exist_ok=True)
            self.copy.touch()
            with self.copy.open("r+b") as file:
                file.seek(self._num_bytes - len(new))  # rows behind it were rewound
                file.write(new)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        self._new.clear()
        return {"num_bytes": self._num_bytes, "sha256": self._digest.hexdigest()}

    def rewind(self, step: int, mark: Mark | None) -> None:
        """Drop the rows after `step`: they will be logged again.

        With the mark of that step the log is what it was then. Without, or where the
        copy is damaged too, it keeps the whole rows that it has. A damaged log is set
        aside.
        """
        source = self._source(mark)
        damage = self._damage(mark, source)
        with _open(source or self.path) as file:
            if damage:
                remains.set_aside(self.path, damage)
            self._digest, self._num_bytes = hashlib.sha256(), 0
            parts = _blocks(file, mark["num_bytes"]) if source and mark else _lines(file, step)
            disk.write_parts(self.path, map(self._count, parts))
        self._new.clear()
        if self._num_bytes == 0:
            self.copy.unlink(missing_ok=True)
        elif _digest(self.copy, self._num_bytes) != self._digest.hexdigest():
            disk.copy(self.path, self.copy)

    def _source(self, mark: Mark | None) -> Path | None:
        """Return the file that begins with what was marked."""
        return next(
            (
                path
                for path in (self.path, self.copy)
                if mark and _digest(path, mark["num_bytes"]) == mark["sha256"]
            ),
            None,
        )

    def _damage(self, mark: Mark | None, source: Path | None) -> str:
        """Say how the log is damaged; nothing where it is not, or a power cut took its
        end.
        """
        is_other = bool(mark) and source != self.path
        if source == self.copy and not self.path.is_dir():
            size = self.path.stat().st_size if self.path.exists() else 0
            is_other = _digest(self.path, size) != _digest(self.copy, size)
        if not (is_other or self.path.is_dir() or _is_damaged(self.path)):
            return ""
        if source is None:
            return "is damaged" + (", as its copy is; some rows may be lost" if mark else "")
        return f"is damaged; its rows come from {'itself' if source == self.path else 'its copy'}"

    def _count(self, part: bytes) -> bytes:
        self._digest.update(part)
        self._num_bytes += len(part)
        return part


def _open(path: Path) -> BinaryIO:
    return path.open("rb") if path.is_file() else io.BytesIO()


def _blocks(file: BinaryIO, num_bytes: int) -> Iterator[bytes]:
    """Yield the first bytes of a file, fewer where it ends."""
    while num_bytes > 0 and (block := file.read(min(num_bytes, disk.BLOCK))):
        num_bytes -= len(block)
        yield block


def _lines(file: Iterable[bytes], step: int) -> Iterator[bytes]:
    """Yield the whole rows up to `step` as lines."""
    return (
        (json.dumps(row) + "\n").encode() for row in rows_in(file) if row and row["step"] <= step
    )


def _digest(path: Path, num_bytes: int) -> str:
    """Return the digest of the first bytes of a file; one that is missing has none."""
    digest = hashlib.sha256()
    with _open(path) as file:
        for block in _blocks(file, num_bytes):
            digest.update(block)
    return digest.hexdigest()


def _is_damaged(path: Path) -> bool:
    with _open(path) as file:
        return any(row is None for row in rows_in(file))
