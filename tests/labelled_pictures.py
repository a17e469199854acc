"""Folders of pictures whose colours say their class, whatever their names say."""

from pathlib import Path

from PIL import Image

from pipeline.artefacts.dataset import Dataset
from pipeline.images.decode import decode
from tests.pictures import encode

STEP = 20  # between the greys of two classes
TWIN = b"\0\5\x16\7\0\2\0\0Mac OS X        "  # as an AppleDouble file begins


def picture(number: int, kind: str = "PNG") -> bytes:
    """Return a picture of class `number`."""
    return encode(Image.new("RGB", (32, 32), (STEP * number,) * 3), kind)


def put(path: Path, content: bytes = TWIN) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def folders(top: Path, *names: str, numbers: tuple[int, ...] | None = None) -> Path:
    """Write a folder for each name, with two pictures of class 0, 1 ... or of
    `numbers`.
    """
    for number, name in zip(numbers or range(len(names)), names, strict=True):
        for k in range(2):
            put(top / name / f"{k}.png", picture(number))
    return top


def both(top: Path, *names: str) -> Path:
    folders(top / "train", *names)
    folders(top / "val", *names)
    return top


def by_colour(dataset: Dataset, split: str = "val") -> list[tuple[int, int]]:
    """Return the class that the colour of each image says, and its label."""
    images = dataset.split(split)
    return [
        (round(decode(images.encoded(k)).getpixel((9, 9))[0] / STEP), label)  # type: ignore[index]
        for k, label in enumerate(images.labels.tolist())
    ]


def right(num_classes: int) -> list[tuple[int, int]]:
    return [(number, number) for number in range(num_classes) for _ in range(2)]
