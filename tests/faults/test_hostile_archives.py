"""Whatever is in an archive: one line that names it, or every member is accounted for.
Nothing is written but below the root.

All of it runs in a process of its own, so that a crash is seen.
"""

import gzip
import io
import json
import random
import tarfile
from pathlib import Path

from pipeline.configs.prepare import DEVKIT, TRAIN, VAL, PrepareConfig
from pipeline.errors import InputError
from pipeline.sources.clutter import clutter
from pipeline.stages.prepare import prepare
from tests.faults.campaign import amount
from tests.forks import fork
from tests.ilsvrc_archives import write_archives
from tests.pictures import encode, noise

WNIDS = ("n00000001", "n00000002")
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
NAMES = (
    "../../../../tmp/out.JPEG",
    "/etc/passwd",
    "a/../../b.JPEG",
    "",
    ".",
    "x\ny.JPEG",
    "x\u2028y.JPEG",
    "\udcff\udcfe.JPEG",
    "n00000001_0.JPEG",
    "n" * 99,
    "d/" * 120 + "long.JPEG",
    "._n00000001_0.JPEG",
    "-rf",
    "a b.JPEG",
)
KEYS = (
    "path",
    "size",
    "linkpath",
    "GNU.sparse.major",
    "GNU.sparse.map",
    "GNU.sparse.size",
    "GNU.sparse.name",
    "GNU.sparse.realsize",
    "mtime",
    "uid",
    "hdrcharset",
    "comment",
)
TEXTS = ("-1", "9" * 20, "9" * 5000, "nan", "inf", "BINARY", "", "0", "1", "x" * 9, "../x", "0,1,2")
IMAGE = encode(noise(0, 24), "JPEG")


def a_member(rng: random.Random) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member that a tar may hold, and that a class archive should not."""
    info = tarfile.TarInfo(rng.choice(NAMES))
    content = rng.choice(
        (
            b"",
            IMAGE,
            gzip.compress(IMAGE),
            rng.randbytes(99),
            bytes(2000),
            inner([("a.JPEG", IMAGE)]),
            IMAGE[:99],
        )
    )
    match rng.randrange(6):
        case 0:
            info.type = rng.choice(LINKS)
            info.linkname = rng.choice(NAMES)
            content = b""
        case 1:
            info.type = rng.choice((b"S", b"K", b"L", b"V", b"M", b"9", b"x", b"g", b"\xff"))
        case 2:
            info.pax_headers = {
                rng.choice(KEYS): rng.choice(TEXTS) for _ in range(rng.randrange(1, 4))
            }
        case 3:
            info.pax_headers = {"comment": "x" * rng.choice((10_000, 2 * 2**20))}
        case _:
            pass
    info.size = len(content)
    return info, content


def inner(files: list[tuple[str, bytes]]) -> bytes:
    """Return a plain tar."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def hostile(rng: random.Random, wnid: str) -> bytes:
    """Return the archive of a class with hostile members among its images, and at times
    with damaged bytes.
    """
    file = io.BytesIO()
    kind = rng.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
    with tarfile.open(
        fileobj=file, mode="w", format=kind, errors="surrogateescape", encoding="utf-8"
    ) as archive:
        for k in range(4):
            info = tarfile.TarInfo(f"{wnid}_{k}.JPEG")
            info.size = len(IMAGE)
            archive.addfile(info, io.BytesIO(IMAGE))
            for _ in range(rng.randrange(2)):
                odd, content = a_member(rng)
                try:
                    block = odd.tobuf(kind, "utf-8", "surrogateescape")  # type: ignore[arg-type]
                except (ValueError, UnicodeEncodeError):
                    continue
                file.write(block + content + bytes(-len(content) % 512))
                archive.offset = file.tell()
    damaged = bytearray(file.getvalue())
    if rng.random() < 0.4:
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(damaged))
            match rng.randrange(4):
                case 0:
                    damaged[at] ^= 1 << rng.randrange(8)
                case 1:
                    del damaged[at:]
                case 2:
                    damaged[at // 512 * 512 + 124 : at // 512 * 512 + 136] = rng.choice(
                        (b"\x80" + b"\xff" * 11, b"\xff" * 12, b"77777777777\0", bytes(12))
                    )
                case _:
                    damaged[at:at] = rng.randbytes(512)
            if not damaged:
                break
    return bytes(damaged)


def chain_of_names(count: int) -> bytes:
    """Return an archive in which each long name is followed by another."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2
    block = info.tobuf(tarfile.GNU_FORMAT) + b"a\0" + bytes(510)
    return block * count + inner([("a.JPEG", IMAGE)])


def expected_files(archive: bytes) -> int | None:
    """Count the members of a class archive, without folders and clutter, as tarfile
    lists them; None where it cannot.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
            return sum(not (info.isdir() or clutter(info.name)) for info in opened)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError):
        return None


def take(top: Path, seeds: list[int], report: Path) -> None:
    """Prepare a data set of each hostile archive, and write how that ended."""
    ends = {}
    for seed in seeds:
        folder, root = top / str(seed) / "archives", top / str(seed) / "root"
        rng = random.Random(seed)
        train = {wnid: [(f"{wnid}_{k}.JPEG", IMAGE) for k in range(2)] for wnid in WNIDS}
        write_archives(folder, train, [(WNIDS[k], IMAGE) for k in range(2)])
        classes = [
            chain_of_names(3000) if seed % 25 == 24 else hostile(rng, wnid) for wnid in WNIDS
        ]
        (folder / TRAIN).write_bytes(
            inner([(f"{wnid}.tar", own) for wnid, own in zip(WNIDS, classes, strict=True)])
        )
        if seed % 10 == 0:
            path = folder / rng.choice((VAL, DEVKIT))
            content = bytearray(path.read_bytes())
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            path.write_bytes(content)
        config = PrepareConfig(
            source="ilsvrc2012", name="hostile", path=folder, trust_archives=True
        )
        try:
            made = prepare(config, root, processes=1)
        except InputError as error:
            ends[seed] = str(error)
            continue
        kept = sum(item.keeps_slot for item in made.rejected)
        rows = sum(len(made.split(split)) for split in ("train", "val"))
        assert rows - kept + len(made.rejected) == made.manifest.num_files, seed
        counts = [count for own in classes if (count := expected_files(own)) is not None]
        if len(counts) == len(classes):
            assert made.manifest.num_files == sum(counts) + 2, seed
        assert all(item.reason for item in made.rejected), seed
        ends[seed] = f"{rows - kept} usable, {kept} unreadable, {len(made.rejected)} rejected"
    report.write_text(json.dumps(ends))


def test_hostile_archives_are_refused_or_accounted_for(tmp_path: Path) -> None:
    count = amount(25, 100)
    outside = {path for path in Path("/tmp").iterdir() if path.name.startswith("out")}
    report = tmp_path / "report.json"
    process = fork(take, tmp_path / "seeds", list(range(count)), report)
    process.join()
    assert process.exitcode == 0
    ends = json.loads(report.read_text())
    assert len(ends) == count
    refused = {seed: text for seed, text in ends.items() if "usable" not in text}
    for seed, text in refused.items():
        assert str(tmp_path / "seeds" / seed) in text or "no usable image" in text, text
        assert "\n" not in text, text
    print(f"{len(refused)} refused of {count}", *refused.values(), sep="\n")
    assert 0 < len(refused) < count
    assert {path.name for path in (tmp_path / "seeds").iterdir()} == set(map(str, range(count)))
    assert outside == {path for path in Path("/tmp").iterdir() if path.name.startswith("out")}
