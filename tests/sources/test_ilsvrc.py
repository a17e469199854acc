"""ILSVRC-2012's raw archives in miniature: each trap of the original handled, each
wrong archive named.
"""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.artefacts.dataset import Dataset
from pipeline.configs.prepare import DEVKIT, TRAIN, VAL, PrepareConfig
from pipeline.errors import InputError
from pipeline.sources import ilsvrc
from pipeline.sources.devkit import read_devkit
from pipeline.sources.tar import members
from pipeline.stages.prepare import prepare
from tests.ilsvrc_archives import inner_tar, write_archives

# crane twice, maillot twice
WNIDS = ("n02012849", "n03126707", "n01440764", "n03710637", "n03710721")
WORDS = {
    "n02012849": "crane",
    "n03126707": "crane",
    "n03710637": "maillot",
    "n03710721": "maillot, tank suit",
}


def photograph(
    seed: int,
    kind: str = "JPEG",
    mode: str = "RGB",
    size: tuple[int, int] = (60, 50),
    **more: object,
) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **more)
    return file.getvalue()


def with_bad_exif(encoded: bytes) -> bytes:
    """An APP1 segment whose directory points nowhere."""
    segment = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xff" * 20
    return encoded[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + encoded[2:]


def archives(folder: Path, **more: str) -> Path:
    train = {
        wnid: [(f"{wnid}_{k}.JPEG", photograph(10 * c + k)) for k in range(3)]
        for c, wnid in enumerate(WNIDS)
    }
    odd = train["n01440764"]
    odd += [
        ("n01440764_png.JPEG", photograph(90, "PNG")),
        ("n01440764_cmyk.JPEG", photograph(91, mode="CMYK")),
        ("n01440764_exif.JPEG", with_bad_exif(photograph(92))),
        ("n01440764_tiny.JPEG", photograph(93, size=(8, 5))),
        ("n01440764_grey.JPEG", photograph(94, mode="L")),
        ("n01440764_cut.JPEG", photograph(95)[:-300]),
        ("n01440764_empty.JPEG", b""),
        ("n01440764_page.JPEG", b"<html>"),
        ("n01440764_deep.JPEG", photograph(96, "PNG", mode="I;16")),
        ("../../../tmp/n01440764_evil.JPEG", photograph(97)),
    ]
    val = [(WNIDS[k % 5], photograph(100 + k)) for k in range(10)]
    val[7] = (val[7][0], val[7][1][:-300])
    val[4] = (val[4][0], train["n03710721"][0][1])
    write_archives(folder, train, val, WORDS, **more)
    return folder


def config(path: Path, **more: object) -> PrepareConfig:
    return PrepareConfig.model_validate(
        {"source": "ilsvrc2012", "name": "mini", "path": path, "trust_archives": True, **more}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archives(tmp_path_factory.mktemp("ilsvrc"))


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepare(config(folder), tmp_path_factory.mktemp("root"))


def test_labels_are_positions_of_sorted_wnids(made: Dataset) -> None:
    assert made.classes == sorted(WNIDS)
    val = made.split("val")
    assert val.image_ids == [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, 11)]
    assert val.labels.tolist() == [sorted(WNIDS).index(WNIDS[k % 5]) for k in range(10)]
    assert val.encoded(0) == photograph(100)
    assert (made.manifest.class_words or [])[made.classes.index("n02012849")] == "crane"
    assert made.split("train").column("wnid").to_pylist() == [
        name.split("/")[0] for name in made.split("train").image_ids
    ]


def test_every_file_is_somewhere(made: Dataset) -> None:
    reasons = {
        item.name.split("_", 1)[-1]: item.reason for item in made.rejected if item.split == "train"
    }
    assert set(reasons) == {"cut.JPEG", "empty.JPEG", "page.JPEG", "deep.JPEG"}
    assert reasons["empty.JPEG"] == "empty file"
    assert "truncated" in reasons["cut.JPEG"]
    assert [(item.name, item.keeps_slot) for item in made.rejected if item.split == "val"] == [
        ("ILSVRC2012_val_00000008.JPEG", True)
    ]
    facts = made.manifest
    assert facts.num_files == 5 * 3 + 10 + 10 == sum(facts.num_images.values()) + facts.num_rejected
    assert facts.num_unreadable == 1
    # its path is no path of ours
    assert "n01440764/n01440764_evil.JPEG" in made.split("train").image_ids
    names = dict(
        zip(
            made.split("train").image_ids,
            made.split("train").column("width").to_pylist(),
            strict=True,
        )
    )
    assert names["n01440764/n01440764_tiny.JPEG"] == 8


def test_the_verdict_says_what_is_missing(made: Dataset) -> None:
    verdict = made.manifest.verdict or ""
    assert verdict.endswith("; 5 classes of 1000; 5 files cannot be used")
    assert verdict.startswith(
        "not the whole of ILSVRC-2012: 25 train images of 1281167; 5 classes with other"
    )
    whole = {"train": [1281] * 833 + [1282] * 167, "val": [50] * 1000}
    whole["train"][0] -= sum(whole["train"]) - 1_281_167
    assert ilsvrc.judge(whole) == (True, "ILSVRC-2012, complete")
    assert ilsvrc.judge({"val": whole["val"]}).verdict == "ILSVRC-2012's val images, complete"
    unusable = ilsvrc.judge(whole, 3)
    assert unusable == (False, "not the whole of ILSVRC-2012: 3 files cannot be used")
    whole["val"][3] = 49
    assert not ilsvrc.judge(whole).is_complete


def test_leaks_are_listed(made: Dataset) -> None:
    assert made.manifest.num_leaks == 1
    assert (
        '"val": ["ILSVRC2012_val_00000005.JPEG"], "train": ["n03710721/n03710721_0.JPEG"]'
        in (made.folder / "leaks.jsonl").read_text()
    )


def test_validation_alone(folder: Path, made: Dataset, tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    for name in (VAL, DEVKIT):
        (tmp_path / "only" / name).symlink_to(folder / name)
    alone = prepare(config(tmp_path / "only", only_val=True), tmp_path)
    assert alone.manifest.num_images == {"train": 0, "val": 10}
    assert alone.split("val").image_ids == made.split("val").image_ids


def test_other_archives_than_the_originals_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=f"{DEVKIT}: has MD5 .* the original has fa75699e.*; .* --trust-archives"
    ):
        prepare(config(folder, trust_archives=False), tmp_path, processes=1)
    assert not config(folder, trust_archives=False).is_complete(tmp_path)


def test_originals_are_believed_by_their_headers(
    folder: Path, made: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archives with the right MD5 need no decoding, and give the same rows."""
    from pipeline.sources import tar as tars

    monkeypatch.setattr(
        ilsvrc, "MD5", {name: tars.md5(folder / name) for name in (TRAIN, VAL, DEVKIT)}
    )
    known = prepare(config(folder, trust_archives=False), tmp_path, processes=1)
    assert known.manifest.files == made.manifest.files
    assert set(known.manifest.source_md5) == {TRAIN, VAL, DEVKIT}


def swap(folder: Path, archive: str, old: bytes, new: bytes) -> None:
    content = (folder / archive).read_bytes()
    assert old in content
    (folder / archive).write_bytes(content.replace(old, new))


def cut(folder: Path, archive: str, share: float) -> None:
    content = (folder / archive).read_bytes()
    (folder / archive).write_bytes(content[: int(len(content) * share)])


def train_of(folder: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(folder / TRAIN, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def hole(folder: Path, size: int) -> None:
    """Zeros where the header of a file within a class archive was, and behind it: as a
    download leaves them.
    """
    content = bytearray((folder / TRAIN).read_bytes())
    start = content.index(b"n02012849_1.JPEG")
    content[start : start + size] = bytes(size)
    (folder / TRAIN).write_bytes(content)


ZERO_BASED = "65\n970\n230\n" + "1\n" * 7
SPOILED: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: (path / TRAIN).unlink(), f"{TRAIN}: no such file; source ilsvrc2012 needs"),
    (
        lambda path: archives(path, truth=ZERO_BASED),
        "holds 0-based labels in sorted order, not the original's",
    ),
    (lambda path: archives(path, truth="1\n0\n" * 5), "holds 0-based labels in sorted order"),
    (
        lambda path: archives(path, truth="1\n6\n" * 5),
        "has 6, which is no ILSVRC2012_ID of a class",
    ),
    (lambda path: archives(path, truth="1\nx\n" * 5), "is not a list of numbers"),
    (
        lambda path: archives(path, truth="1\n" * 11),
        "has 10 images for 11 lines of ground truth; 11 is missing",
    ),
    (
        lambda path: archives(path, truth="1\n" * 9),
        "has member 'ILSVRC2012_val_00000010.JPEG'; expected ILSVRC2012_val_0+1",
    ),
    (
        lambda path: (path / DEVKIT).write_bytes(b"no archive"),
        f"{DEVKIT}: cannot be read as .tar.gz",
    ),
    (lambda path: cut(path, DEVKIT, 0.5), f"{DEVKIT}: cannot be read as .tar.gz"),
    (lambda path: cut(path, TRAIN, 0.5), f"{TRAIN}: is damaged or ends early, after member 'n"),
    (lambda path: cut(path, VAL, 0.3), f"{VAL}: is damaged or ends early, after member 'ILSVRC"),
    (
        lambda path: swap(path, VAL, b"ILSVRC2012_val_00000003", b"XLSVRC2012_val_00000003"),
        "is damaged or ends early",
    ),
    (lambda path: hole(path, 512), "is damaged or ends early, after member 'n02012849_0.JPEG'"),
    (lambda path: hole(path, 2048), "is damaged or ends early, after member 'n02012849_0.JPEG'"),
    (
        lambda path: train_of(path, dict.fromkeys((f"{w}.tar" for w in WNIDS), b"")),
        r"n01440764\.tar holds no image",
    ),
    (
        lambda path: train_of(path, {f"{w}.tar": inner_tar([]) for w in WNIDS}),
        r"n01440764\.tar holds no image",
    ),
    (
        lambda path: (path / TRAIN).write_bytes(b"\1" * 10_240),
        "is damaged or ends early, after the first member, at byte 0",
    ),
    (
        lambda path: train_of(path, {"n02012849.tar": inner_tar([])}),
        r"has no n01440764\.tar; 4 of the devkit's 5 classes",
    ),
    (
        lambda path: train_of(path, {"n99999999.tar": b""}),
        "has member 'n99999999.tar'; expected a tar of each class",
    ),
    (lambda path: train_of(path, {"../n02012849.jpg": b""}), "has member '../n02012849.jpg'"),
    (
        lambda path: train_of(path, {f"{wnid}.tar": b"x" * 9999 for wnid in WNIDS}),
        "is damaged or ends early",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILED)
def test_wrong_archives_are_named(
    tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    folder = archives(tmp_path / "archives")
    spoil(folder)
    with pytest.raises(InputError, match=message):
        prepare(config(folder), tmp_path / "root", processes=1)
    assert not config(folder).is_complete(tmp_path / "root")


def test_a_flipped_bit_of_the_devkit_is_seen(folder: Path, tmp_path: Path) -> None:
    """By gzip's own checksum, wherever it lies; or it changes nothing that is read."""
    sound = (folder / DEVKIT).read_bytes()
    devkit, refused = read_devkit(folder / DEVKIT), 0
    rng = np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(sound)
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        (tmp_path / DEVKIT).write_bytes(content)
        try:
            assert read_devkit(tmp_path / DEVKIT) == devkit
        except InputError:
            refused += 1
    assert refused > 170


def test_headers_that_claim_gigabytes_are_refused(tmp_path: Path) -> None:
    """A GNU long name of 60 GiB, a negative size, a member with holes."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 60 * 2**30
    negative = tarfile.TarInfo("x")
    negative.size = 1
    block = bytearray(negative.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\xff" * 12
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    for content in (info.tobuf(tarfile.GNU_FORMAT), bytes(block)):
        (tmp_path / TRAIN).write_bytes(content + bytes(10_240))
        with pytest.raises(InputError, match="is damaged or ends early, after the first member"):
            list(members(tmp_path / TRAIN))
    sparse = tarfile.TarInfo("sparse")
    sparse.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,4,100,4",
        "GNU.sparse.size": "104",
    }
    sparse.size = 8
    with tarfile.open(tmp_path / TRAIN, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(sparse, io.BytesIO(b"abcdefgh"))
    assert [member.offset for member in members(tmp_path / TRAIN)] == [None]
