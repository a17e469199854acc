"""How fast images get from a raw archive into shards: our code beside reading and
hashing alone, on one core, interleaved.

The archive lies in the page cache. No code that stores images can be faster than
reading, hashing and writing.
"""

import hashlib
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path

from PIL import Image

from pipeline.artefacts import sealing
from pipeline.artefacts.measurements import PrepareFacts, Storing
from pipeline.benchmarks.turns import Measure, photographs, quartiles, take_turns, worker
from pipeline.configs.benchmark import BenchmarkConfig
from pipeline.errors import present
from pipeline.runtime.environment import PROCESS_ENVIRONMENT
from pipeline.runtime.progress import Progress
from pipeline.sources import tar as archives
from pipeline.sources.base import Piece, SourceFile
from pipeline.sources.shard_writer import Shard, Work

ARCHIVE = "photographs.tar"


def benchmark_prepare(config: BenchmarkConfig, root: Path) -> PrepareFacts:
    """Measure, write benchmarks/<hash>/benchmark.json, and return what it holds.

    Raises:
        InputError: `config.path` holds no usable image.
        StageFailed: a contender failed.
    """
    with tempfile.TemporaryDirectory() as name, ExitStack() as processes:
        folder = Path(name)
        num_images = _write_archive(folder / ARCHIVE, config)
        num_bytes = (folder / ARCHIVE).stat().st_size
        workers = {
            name: processes.enter_context(
                worker(partial(_make, name, folder, num_images), PROCESS_ENVIRONMENT)
            )
            for name in CONTENDERS
        }
        with Progress(
            "benchmark prepare", (config.rounds + 1) * len(workers), "samples"
        ) as progress:
            rounds = take_turns(workers, config.rounds, progress)
    facts = PrepareFacts(
        rounds=len(rounds),
        num_images=num_images,
        num_bytes=num_bytes,
        contenders={
            name: Storing(
                text=text,
                images_per_second=quartiles([results[name] for results in rounds]),
                megabytes_per_second=quartiles(
                    [results[name] * num_bytes / num_images / 1e6 for results in rounds]
                ),
                share=quartiles([results[name] / results[BOUND] for results in rounds]),
            )
            for name, (text, _) in CONTENDERS.items()
        },
    )
    sealing.PREPARE_BENCHMARK.seal(config, root, [], facts)
    return facts


def _write_archive(path: Path, config: BenchmarkConfig) -> int:
    """Write the images, some again where there are too few; return how many."""
    records = list(photographs(config.path, config.num_images))
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for number, record in zip(range(config.num_images), cycle(records), strict=False):
            info = tarfile.TarInfo(f"{number:06d}.JPEG")
            info.size = len(record.image)
            archive.addfile(info, io.BytesIO(record.image))
    return config.num_images


def _make(name: str, folder: Path, num_images: int) -> Measure:
    work = CONTENDERS[name][1]

    def once() -> float:
        with tempfile.TemporaryDirectory(dir=folder) as target:
            started = time.perf_counter()
            work(folder / ARCHIVE, Path(target))
            return num_images / (time.perf_counter() - started)

    def measure(_: int) -> float:
        # the host of a virtual machine may first have to allocate the pages of a file;
        # the second run has them
        once()
        return once()

    return measure


def _read_and_hash(archive: Path, target: Path) -> None:
    for content in _contents(archive):
        hashlib.sha256(content).hexdigest()


def _read_hash_write(archive: Path, target: Path) -> None:
    with (target / "copy").open("wb") as file:
        for content in _contents(archive):
            hashlib.sha256(content).hexdigest()
            file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _contents(path: Path) -> Iterator[bytes]:
    with tarfile.open(path) as archive:
        for info in archive:
            yield present(archive.extractfile(info), info.name).read()


def _md5(archive: Path, target: Path) -> None:
    archives.md5(archive)


def _usual(archive: Path, target: Path) -> None:
    # this benchmark wrote the archive itself; the product never extracts one
    with tarfile.open(archive) as opened:
        opened.extractall(target, filter="data")
    for path in sorted(target.iterdir()):
        Image.open(path).convert("RGB")
        hashlib.sha256(path.read_bytes()).hexdigest()


def _ours(archive: Path, target: Path, is_known: bool) -> None:
    work = Work(target, "", ["photograph"], partial(_files, archive), is_known, None)
    work.fill(Shard("train-00000.arrow", [Piece("train", archive.name, 0, archive.stat().st_size)]))


def _files(path: Path, piece: Piece) -> Iterator[SourceFile]:
    for name, size, offset in archives.members(path):
        yield SourceFile(piece.split, name, piece.label, archives.read_at(path, offset or 0, size))


BOUND = "read, hash, write"  # what the disk and the hash allow
CONTENDERS: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "read, hash": ("tarfile, SHA-256 of each image; nothing is kept", _read_and_hash),
    BOUND: ("the same, and one file of all bytes, synced", _read_hash_write),
    "MD5": ("of the whole archive, as an original's is checked", _md5),
    "usual": ("extract, decode with Pillow, SHA-256", _usual),
    "ours, known": (
        "an original: headers, SHA-256, a shard, synced",
        partial(_ours, is_known=True),
    ),
    "ours": ("any other archive: every bit decoded as well", partial(_ours, is_known=False)),
}
