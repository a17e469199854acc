"""Whatever an image's bytes are: it is usable, unreadable in its slot, or rejected with
a reason. What is usable can be trained on and evaluated.

All of it runs in a process of its own: a decoder that crashes takes nothing along.
"""

import random
import struct
import zlib
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from pipeline.artefacts.dataset import Dataset
from pipeline.configs.patches import PatchConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.images import decode as images
from pipeline.images.patches import cut_patch
from pipeline.paper.augmentation import Patch
from pipeline.stages.prepare import prepare
from tests.faults.campaign import amount
from tests.forks import fork
from tests.pictures import encode, noise
from tests.sources.test_images_to_trust import png

FORMATS: dict[str, list[Callable[[Image.Image], bytes]]] = {
    "JPEG": [
        lambda image: encode(image, "JPEG"),
        lambda image: encode(image, "JPEG", progressive=True, optimize=True),
        lambda image: encode(image.convert("L"), "JPEG", restart_marker_blocks=2),
        lambda image: encode(image.convert("CMYK"), "JPEG", subsampling=0),
        lambda image: encode(image, "JPEG", exif=image.getexif().tobytes(), comment=b"c" * 99),
    ],
    "PNG": [
        lambda image: encode(image, "PNG"),
        lambda image: encode(image.convert("P"), "PNG", transparency=3),
        lambda image: encode(image.convert("LA"), "PNG", dpi=(9, 9)),
        lambda image: encode(image.convert("1"), "PNG"),
    ],
    "GIF": [lambda image: encode(image, "GIF"), lambda image: encode(image.convert("L"), "GIF")],
    "WEBP": [
        lambda image: encode(image, "WEBP"),
        lambda image: encode(image, "WEBP", lossless=True),
        lambda image: encode(image.convert("RGBA"), "WEBP"),
    ],
    "BMP": [lambda image: encode(image, "BMP"), lambda image: encode(image.convert("P"), "BMP")],
    "TIFF": [
        lambda image: encode(image, "TIFF"),
        lambda image: encode(image.convert("P"), "TIFF", compression="tiff_lzw"),
        lambda image: encode(image, "TIFF", compression="jpeg"),
    ],
}
SIDES = (16, 33, 64)
WHOLE_PATCH = Patch(0, 0, 1, 1, "bilinear", False)


def pieces(encoded: bytes, kind: str) -> list[bytes]:
    """Return an image in pieces: the head of its format, then chunks or segments."""
    cuts = [0]
    if kind == "PNG":
        at = 8
        while at + 8 <= len(encoded):
            cuts.append(at)
            at += 12 + int.from_bytes(encoded[at : at + 4], "big")
    elif kind == "JPEG":
        cuts += [k for k in range(2, len(encoded) - 1) if encoded[k] == 255 and encoded[k + 1] > 0]
    elif kind == "WEBP":
        at = 12
        while at + 8 <= len(encoded):
            cuts.append(at)
            size = int.from_bytes(encoded[at + 4 : at + 8], "little")
            at += 8 + size + size % 2
    else:
        cuts += [k for k in (13, 54, 13 + 768, len(encoded) * 2 // 3) if k < len(encoded)]
    cuts = sorted({min(cut, len(encoded)) for cut in cuts} | {len(encoded)})
    return [encoded[start:stop] for start, stop in pairwise(cuts)]


def of_huge_size(content: bytearray, kind: str, rng: random.Random) -> None:
    """Write a size of up to four bytes where the format has it; a PNG's checksum is
    right.
    """
    places = {"PNG": 16, "GIF": 6, "BMP": 18, "WEBP": 26, "JPEG": content.find(b"\xff\xc0") + 5}
    # a TIFF has it in its list of tags, anywhere
    at = places.get(kind, rng.randrange(len(content)))
    width = {"PNG": 4, "BMP": 4}.get(kind, 2)
    content[at : at + 2 * width] = rng.choice(
        (b"\xff" * 2 * width, b"\x7f" * 2 * width, bytes(2 * width), rng.randbytes(2 * width))
    )
    if kind == "PNG" and len(content) > 33:
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))


def mutated(encoded: bytes, kind: str, rng: random.Random) -> bytes:
    """Return an image with damage of one kind or of several."""
    content = bytearray(encoded)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(content))
        match rng.randrange(7):
            case 0:
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                del content[max(1, at) :]
            case 2:
                parts = pieces(bytes(content), kind)
                one, other = rng.randrange(len(parts)), rng.randrange(len(parts))
                parts[one], parts[other] = parts[other], parts[one]
                content = bytearray(b"".join(parts))
            case 3:
                parts = pieces(bytes(content), kind)
                rng.choice((parts.remove, parts.append))(rng.choice(parts))
                content = bytearray(b"".join(parts)) or content
            case 4:
                of_huge_size(content, kind, rng)
            case 5:
                content[at : at + 8] = rng.choice((bytes(8), b"\xff" * 8, rng.randbytes(8)))
            case _:
                content[at:at] = rng.randbytes(rng.randrange(1, 99))
    return bytes(content)


def account(folder: Path, root: Path, report: Path) -> None:
    """Prepare a folder, and write what became of each file."""
    config = PrepareConfig(source="imagefolder", name="mutated", path=folder)
    made = prepare(config, root, processes=1)
    rejected = {(item.split, item.name): item for item in made.rejected}
    assert all(item.reason for item in rejected.values())
    lines = [
        f"{split}/{name} rejected"
        for (split, name), item in rejected.items()
        if not item.keeps_slot
    ]
    for split in ("train", "val"):
        images_of = Dataset(config, root).split(split)
        for index, name in enumerate(images_of.image_ids):
            encoded = images_of.encoded(index)
            if (split, name) in rejected:
                assert split == "val"
                with pytest.raises(images.BadImage):
                    images.decode(encoded)
                lines.append(f"{split}/{name} unreadable")
                continue
            size = images.decode(encoded).size
            recorded = (images_of.column(side)[index].as_py() for side in ("width", "height"))
            assert size == tuple(recorded)
            images.thumbnail(encoded)
            train_on(encoded)
            lines.append(f"{split}/{name} usable")
    report.write_text("\n".join(lines))


def train_on(encoded: bytes) -> None:
    """Cut the whole image as a training patch, in each way."""
    for kernel in ("bilinear", "area"):
        patch = WHOLE_PATCH._replace(interpolation=kernel)
        for config in (PatchConfig(), PatchConfig(resize="pil"), PatchConfig(scaled_decoding=True)):
            cut = cut_patch(encoded, partial(_whole, patch), 16, config)
            assert cut.shape == (16, 16, 3)


def _whole(patch: Patch, width: int, height: int) -> Patch:
    return patch._replace(width=width, height=height)


@pytest.mark.parametrize("kind", FORMATS)
def test_mutated_images_are_all_accounted_for(kind: str, tmp_path: Path) -> None:
    count = amount(80, 2000)
    sound = [make(noise(k, side)) for k, side in enumerate(SIDES) for make in FORMATS[kind]]
    folder = tmp_path / "images"
    for number in range(count):
        split, label = ("train", "val")[number % 2], "ab"[number // 2 % 2]
        rng = random.Random(f"{kind} {number}")
        path = folder / split / label / f"{number:05d}.{kind.lower()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mutated(rng.choice(sound), kind, rng))
    for split in ("train", "val"):
        for label in "ab":
            (folder / split / label / "sound.jpg").write_bytes(encode(noise(1, 32), "JPEG"))
    report = tmp_path / "report"
    process = fork(account, folder, tmp_path / "root", report)
    process.join()
    assert process.exitcode == 0
    fates = dict(line.rsplit(" ", 1) for line in report.read_text().splitlines())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")}
    assert set(fates) == files
    assert len(fates) == count + 4
    print({fate: list(fates.values()).count(fate) for fate in set(fates.values())})
    assert {"usable", "rejected"} <= set(fates.values())


def test_bits_of_a_png_do_not_depend_on_the_order_of_its_chunks() -> None:
    """Pillow reads a PNG whose size is not its first chunk, and cuts 16 bits to 8."""
    rows = zlib.compress((b"\0" + bytes(9 * 6)) * 9)
    head, size, *others = pieces(png(9, 9, rows, depth=16), "PNG")
    gamma = struct.pack(">I", 4) + b"gAMA" + bytes(4)
    gamma += struct.pack(">I", zlib.crc32(gamma[4:]))
    with pytest.raises(images.BadImage, match="16 bits a channel; expected 8"):
        images.inspect(b"".join((head, gamma, size, *others)))
