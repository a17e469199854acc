"""Each file of the source is in a shard or in rejected.jsonl; wrong sources are named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.adapters import images, sources
from pipeline.stages.prepare import prepare
from pipeline.study import InputError, PrepareConfig


@pytest.fixture
def folder(image_folder: Path, tmp_path: Path) -> Path:
    """A copy of the image folder to spoil."""
    return Path(shutil.copytree(image_folder, tmp_path / "copy"))


def config(path: Path | None) -> PrepareConfig:
    return PrepareConfig(source="imagefolder", name="colours", path=path)


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


SPOILED: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: shutil.rmtree(path), "no such folder"),
    (lambda path: shutil.rmtree(path / "val"), "has no folder val/"),
    (lambda path: empty(path / "val/red"), "val/red: class folder is empty"),
    (lambda path: (path / "train/red").rename(path / "train/rot"), "class red is in val/ only"),
    (lambda path: [file.write_bytes(b"x") for file in (path / "val/red").iterdir()], "class red has no usable image in val/"),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILED)
def test_wrong_folders_are_named(folder: Path, tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message):
        prepare(config(folder), tmp_path / "root")
    assert not config(folder).is_complete(tmp_path / "root")


def test_path_is_needed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no path given; pass --data FOLDER"):
        prepare(config(None), tmp_path)


def test_unusable_files_are_rejected_by_name(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "train/red/0.jpg").read_bytes()
    (folder / "train/red/empty.jpg").write_bytes(b"")
    (folder / "train/red/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "val/blue/page.jpg").write_text("<html>")
    made = prepare(config(folder), tmp_path / "root")
    lines = (made.folder / "rejected.jsonl").read_text().splitlines()
    reasons = {item["name"]: item["reason"] for item in map(json.loads, lines)}
    assert reasons["red/empty.jpg"] == "empty file"
    assert reasons["red/cut.jpg"].startswith("cannot be decoded: ")
    assert reasons["blue/page.jpg"] == "not an image"
    assert made.manifest["num_images"] == {"train": 24, "val": 15}
    assert sum(made.manifest["num_images"].values()) + made.manifest["num_rejected"] == made.manifest["num_files"] == 42


def test_other_files_under_the_same_name_are_refused(folder: Path, tmp_path: Path, image_folder: Path) -> None:
    prepare(config(folder), tmp_path / "root")
    prepare(config(image_folder), tmp_path / "root")  # the same files elsewhere are the same data set
    (folder / "train/red/0.jpg").unlink()
    with pytest.raises(InputError, match="holds other files than those"):
        prepare(config(folder), tmp_path / "root")


def test_digits_are_photographs_of_many_shapes() -> None:
    source = sources.open_source(PrepareConfig(source="digits", name="digits"))
    files = [file for file, _ in zip(source.files, range(40), strict=False)]
    sizes = {images.decode(file.encoded or b"").size for file in files}
    assert source.num_files == 1797
    assert len(sizes) > 30
    assert {width > height for width, height in sizes} == {True, False}


def test_a_header_that_lies_is_not_believed(image_folder: Path) -> None:
    """A JPEG that claims 65,500 x 65,500 pixels is refused before anything is allocated."""
    jpeg = bytearray((image_folder / "train/red/0.jpg").read_bytes())
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = (65_500).to_bytes(2, "big") * 2
    with pytest.raises(images.BadImage, match="65500x65500 pixels"):
        images.decode(bytes(jpeg))
