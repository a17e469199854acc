"""Each file of the source is in a shard or in rejected.jsonl; wrong sources are
named.
"""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pipeline.artefacts import locks
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.images import decode as images
from pipeline.sources import registry as sources
from pipeline.stages.prepare import prepare


@pytest.fixture
def folder(image_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the image folder to spoil."""
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
    (
        lambda path: [file.write_bytes(b"x") for file in (path / "val/red").iterdir()],
        "class red has no usable image in val/",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), SPOILED)
def test_wrong_folders_are_named(
    folder: Path, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
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
    (folder / "val/blue/folder").mkdir()
    (folder / "val/blue/broken.jpg").symlink_to("nowhere")
    (folder / "val/stray.jpg").write_bytes(whole)
    dataset = prepare(config(folder), tmp_path / "root")
    lines = (dataset.folder / "rejected.jsonl").read_text().splitlines()
    reasons = {item["name"]: item["reason"] for item in map(json.loads, lines)}
    assert reasons["red/empty.jpg"] == "empty file"
    assert reasons["red/cut.jpg"] == "truncated: Premature end of JPEG file"
    assert reasons["blue/page.jpg"] == "not an image"
    assert (reasons["blue/folder"], reasons["blue/broken.jpg"]) == (
        "is a folder; what is in it is not looked at",
        "not a regular file",
    )
    # page.jpg keeps its slot, and will count as an error
    assert dataset.manifest.num_images == {"train": 24, "val": 16}
    assert dataset.manifest.num_unreadable == 1
    assert dataset.split("val").image_ids[5] == "blue/page.jpg"
    assert reasons["stray.jpg"].startswith("lies in no class folder")
    assert (dataset.num_rejected("train"), dataset.num_rejected("val")) == (2, 3)
    assert (
        sum(dataset.manifest.num_images.values()) + dataset.manifest.num_rejected
        == dataset.manifest.num_files
        == 45
    )


def test_other_files_under_the_same_name_are_refused(
    folder: Path, tmp_path: Path, image_folder: Path
) -> None:
    prepare(config(folder), tmp_path / "root")
    # the same files elsewhere are the same data set
    prepare(config(image_folder), tmp_path / "root")
    (folder / "train/red/0.jpg").unlink()
    with pytest.raises(InputError, match="holds other files than those"):
        prepare(config(folder), tmp_path / "root")


def test_digits_are_photographs_of_many_shapes() -> None:
    source = sources.open_source(PrepareConfig(source="digits", name="digits"))
    pieces = source.pieces()
    files = [file for piece in pieces[:40] for file in source.read(piece)]
    sizes = {images.decode(file.encoded or b"").size for file in files}
    assert len(pieces) == 1797
    assert len(sizes) > 30
    assert {width > height for width, height in sizes} == {True, False}


def test_a_header_that_lies_is_not_believed(image_folder: Path) -> None:
    """A JPEG that claims 65,500 x 65,500 pixels is refused before anything is
    allocated.
    """
    jpeg = bytearray((image_folder / "train/red/0.jpg").read_bytes())
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = (65_500).to_bytes(2, "big") * 2
    with pytest.raises(images.BadImage, match="65500x65500 pixels"):
        images.decode(bytes(jpeg))


def test_every_twin_of_a_val_image_is_listed(image_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "leaky"
    shutil.copytree(image_folder, folder)
    for name in ("red/twin.jpg", "blue/twin.jpg"):
        shutil.copy(folder / "val/red/0.jpg", folder / "train" / name)
    dataset = prepare(config(folder), tmp_path / "root")
    leaks = [json.loads(line) for line in (dataset.folder / "leaks.jsonl").read_text().splitlines()]
    assert [(leak["val"], leak["train"]) for leak in leaks] == [
        (["red/0.jpg"], ["blue/twin.jpg", "red/twin.jpg"])
    ]
    assert dataset.manifest.num_leaks == 1


def test_sixteen_bits_and_strips_are_refused() -> None:
    for image, reason in (
        (Image.new("I;16", (9, 9)), "pixels of mode I;16, 16 bits a channel; expected 8"),
        (Image.new("RGB", (2, 600)), "2x600, more than 100 times"),
    ):
        file = io.BytesIO()
        image.save(file, "PNG")
        with pytest.raises(images.BadImage, match=reason):
            images.decode(file.getvalue())


def test_a_second_preparation_is_told_who_is_at_it(image_folder: Path, tmp_path: Path) -> None:
    with (
        locks.lock(config(image_folder), tmp_path),
        pytest.raises(InputError, match="is being made already by process"),
    ):
        prepare(config(image_folder), tmp_path)


def test_folders_to_evaluate_on(image_folder: Path, tmp_path: Path) -> None:
    """val/<class>/, <class>/ and files named <class>_* are the same images; a list of
    classes gives the labels.
    """
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in (image_folder / "val").rglob("*.jpg"):
        shutil.copy(file, flat / f"{file.parent.name}_{file.name}")
    layouts = []
    for number, path in enumerate((image_folder, image_folder / "val", flat)):
        dataset = prepare(
            PrepareConfig(source="labelled_folder", name=f"f{number}", path=path), tmp_path / "root"
        )
        layouts.append([dataset.split("val").encoded(k) for k in range(15)])
        assert dataset.split("val").labels.tolist() == [0] * 5 + [1] * 5 + [2] * 5
        assert len(dataset.split("train")) == 0
    assert layouts[0] == layouts[1] == layouts[2]
    classes = ("zebra", "red", "green", "blue")
    listed = PrepareConfig(source="labelled_folder", name="listed", path=flat, classes=classes)
    assert (
        prepare(listed, tmp_path / "root").split("val").labels.tolist()
        == [3] * 5 + [2] * 5 + [1] * 5
    )
    unlisted = PrepareConfig(
        source="labelled_folder", name="unlisted", path=flat, classes=classes[:2]
    )
    with pytest.raises(InputError, match=r"blue_0\.jpg: belongs to none of the 2 classes"):
        prepare(unlisted, tmp_path / "root")
