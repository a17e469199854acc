"""Whatever the images are: every file is accounted for, and no small one takes much
memory.
"""

import json
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipeline.configs.prepare import PrepareConfig
from pipeline.images import decode as images
from pipeline.stages.prepare import prepare
from tests.commands import TOP
from tests.pictures import encode, noise

NUM_MUTATED = 2000


@pytest.mark.parametrize("damage", ["second half zero", "cut, with an end"])
def test_a_jpeg_with_less_in_it_than_it_says_is_truncated(damage: str) -> None:
    """Pillow decodes each, the rest grey. In the validation set such an image is
    classified as it is.
    """
    whole = encode(noise(0, 200), "JPEG", quality=90)
    half = len(whole) // 2
    cut = {
        "second half zero": whole[:half] + bytes(len(whole) - half),
        "cut, with an end": whole[:half] + images.END_OF_JPEG,
    }[damage]
    with pytest.raises(images.BadImage, match=r"truncated: .*remature end"):
        images.inspect(cut)
    assert images.inspect(cut, may_be_cut=True) == images.inspect(whole) == (200, 200)


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
def test_a_png_of_16_bits_a_channel_is_refused(colour: int, channels: int) -> None:
    """Of colours Pillow reads the upper halves without a word."""
    rows = zlib.compress((b"\0" + bytes(9 * 2 * channels)) * 9)
    with pytest.raises(images.BadImage, match="16 bits a channel; expected 8"):
        images.inspect(png(9, 9, rows, colour, depth=16))


BASES: list[Callable[[Image.Image], bytes]] = [
    lambda image: encode(image, "JPEG"),
    lambda image: encode(image, "JPEG", progressive=True),
    lambda image: encode(image.convert("L"), "JPEG"),
    lambda image: encode(image.convert("CMYK"), "JPEG"),
    lambda image: encode(image, "PNG"),
    lambda image: encode(image.convert("P"), "PNG"),
    lambda image: encode(image.convert("RGBA"), "PNG"),
    lambda image: encode(image, "GIF"),
    lambda image: encode(image, "WEBP"),
    lambda image: encode(image, "BMP"),
    lambda image: encode(image, "TIFF", compression="tiff_lzw"),
    lambda image: encode(image, "PPM"),
    lambda image: encode(image, "GIF", save_all=True, append_images=[image.rotate(90)]),
]


def mutated(encoded: bytes, rng: random.Random) -> bytes:
    content = bytearray(encoded)
    for _ in range(rng.choice((1, 1, 1, 3))):
        at = rng.randrange(len(content))
        match rng.randrange(6):
            case 0:
                content[at] ^= 1 << rng.randrange(8)
            case 1:
                del content[at:]
            case 2:
                content[at : at + 8] = rng.randbytes(8)
            case 3:
                content[at:at] = rng.randbytes(rng.randrange(1, 50))
            case 4:
                content[at : at + rng.randrange(1, 200)] = b""
            case _:
                content[: min(64, at)] = rng.randbytes(min(64, at))
        if not content:
            break
    return bytes(content)


@pytest.mark.slow
def test_two_thousand_mutated_images_are_all_accounted_for(tmp_path: Path) -> None:
    """Half of them train, half validate; what is accepted can be decoded, what is not
    is named and has a reason.
    """
    rng = random.Random(0)
    sound = [make(noise(k, 40)) for k, make in enumerate(BASES)]
    for split in ("train", "val"):
        for name in ("a", "b"):
            folder = tmp_path / "mutated" / split / name
            folder.mkdir(parents=True)
            (folder / "sound.jpg").write_bytes(sound[0])
            for k in range(NUM_MUTATED // 4):
                (folder / f"{k:04d}.jpg").write_bytes(mutated(rng.choice(sound), rng))
    made = prepare(
        PrepareConfig(source="imagefolder", name="mutated", path=tmp_path / "mutated"),
        tmp_path,
        processes=2,
    )
    rejected = {(item.split, item.name): item for item in made.rejected}
    assert len(rejected) == len(made.rejected) > NUM_MUTATED // 4
    assert all(item.reason for item in rejected.values())
    accounted = {key for key, item in rejected.items() if not item.keeps_slot}
    for name in ("train", "val"):
        images_of = made.split(name)
        for index, image_id in enumerate(images_of.image_ids):
            accounted.add((name, image_id))
            if (name, image_id) in rejected:
                with pytest.raises(images.BadImage):
                    images.inspect(images_of.encoded(index))
            else:
                size = images.decode(images_of.encoded(index)).size
                assert size == (
                    images_of.column("width")[index].as_py(),
                    images_of.column("height")[index].as_py(),
                )
    files = {
        (path.parts[-3], "/".join(path.parts[-2:]))
        for path in (tmp_path / "mutated").rglob("*.jpg")
    }
    assert accounted == files
    assert len(files) == NUM_MUTATED + 4 == made.manifest.num_files


def png(
    width: int, height: int, data: bytes, colour: int = 2, depth: int = 8, extra: bytes = b""
) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


def lying(encoded: bytes, side: int) -> bytes:
    """A JPEG that claims to have this side."""
    start = encoded.index(b"\xff\xc2" if b"\xff\xc2" in encoded else b"\xff\xc0")
    return encoded[: start + 5] + side.to_bytes(2, "big") * 2 + encoded[start + 9 :]


def bombs() -> dict[str, bytes]:
    """Small files that claim, or grow to, much."""
    zeros = zlib.compress(bytes(2**26), 9)
    flat = Image.new("RGB", (9400, 9400))
    text = b"".join(
        struct.pack(">I", len(content))
        + b"zTXt"
        + content
        + struct.pack(">I", zlib.crc32(b"zTXt" + content))
        for content in [b"k\0\0" + zlib.compress(bytes(2**28), 9)] * 4
    )
    sound = encode(noise(1, 64), "JPEG")
    tiff = bytearray(encode(noise(2, 64), "TIFF"))
    gif = bytearray(encode(noise(3, 64), "GIF"))
    gif[6:10] = b"\xff\xff\xff\xff"
    return {
        "png_900_megapixels": png(30_000, 30_000, zeros),
        "png_1_bit": png(65_000, 65_000, zeros, colour=0, depth=1),
        "png_rgba": encode(flat.convert("RGBA"), "PNG"),
        "png_16_bit": png(9400, 9400, zeros, depth=16),
        "png_text": png(8, 8, zlib.compress(bytes(8 * 25)), extra=text),
        "jpeg_65500": lying(sound, 65_500),
        "jpeg_9400": lying(sound, 9400),
        "jpeg_progressive": lying(encode(noise(4, 64), "JPEG", progressive=True), 9400),
        "jpeg_cmyk": encode(flat.convert("CMYK"), "JPEG"),
        "gif_screen": bytes(gif),
        "webp_flat": encode(flat, "WEBP", quality=1, method=0),
        "tiff_width": bytes(
            tiff.replace(struct.pack("<HHII", 256, 4, 1, 64), struct.pack("<HHII", 256, 4, 1, 9400))
        ),
        "tiff_rgba": encode(flat.convert("RGBA"), "TIFF", compression="tiff_lzw"),
        "bmp_lying": (
            b"BM" + bytes(8) + struct.pack("<IIiiHHI", 54, 40, 2**30, 2**30, 1, 24, 0) + bytes(24)
        ),
        "ppm_lying": b"P6 60000 60000 255\n" + bytes(99),
        "ppm_lying_less": b"P6 9400 9400 255\n" + bytes(99),
    }


WITH_PEAK = """
from pathlib import Path
from pipeline.commands.main import main
try:
    main()
finally:  # what the process had at most: wait4 would count what its parent had before it
    print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


@pytest.mark.slow
def test_bombs_take_less_than_two_gigabytes(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for name in ("a", "b"):
            folder = tmp_path / "bombs" / split / name
            folder.mkdir(parents=True)
            (folder / "sound.jpg").write_bytes(encode(noise(1, 64), "JPEG"))
    for name, content in bombs().items():
        (tmp_path / f"bombs/train/a/{name}.jpg").write_bytes(content)
    with (tmp_path / "bombs/train/a/huge.jpg").open("wb") as file:
        file.truncate(2**34)  # a hole of 16 GiB
    arguments = [
        "data",
        "prepare",
        "imagefolder",
        str(tmp_path / "bombs"),
        "--root",
        str(tmp_path),
        "--processes",
        "1",
    ]
    ended = subprocess.run(
        [sys.executable, "-c", WITH_PEAK, *arguments],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    peak = int(ended.stdout.split()[-1])  # kB
    manifest = json.loads(next((tmp_path / "datasets").glob("*/manifest.json")).read_text())
    lines = (next((tmp_path / "datasets").glob("*")) / "rejected.jsonl").read_text().splitlines()
    reasons = {item["name"][2:-4]: item["reason"] for item in map(json.loads, lines)}
    print(f"peak {peak / 1024:.0f} MiB", reasons)
    assert peak < 2 * 2**20
    assert manifest["num_files"] == len(bombs()) + 5
    assert {
        "png_900_megapixels",
        "png_1_bit",
        "jpeg_65500",
        "bmp_lying",
        "ppm_lying",
        "huge",
        "gif_screen",
    } <= set(reasons)
    assert "claims 30000x30000 pixels" in reasons["png_900_megapixels"]
    assert reasons["huge"] == f"has {2**34} bytes, more than {2**28}"
    assert "png_rgba" not in reasons
