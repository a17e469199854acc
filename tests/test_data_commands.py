"""data prepare, verify, show: as a user runs them."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.digests import digest_of
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.reencode import ReencodeConfig
from pipeline.errors import InputError
from pipeline.images import decode as images
from pipeline.stages.prepare import prepare
from pipeline.tools import verify_data
from tests.commands import in_process
from tests.sealed import reseal


@pytest.fixture
def dataset(data: PrepareConfig, tmp_path: Path) -> Dataset:
    return prepare(data, tmp_path, processes=1)


def problems(data: PrepareConfig, root: Path) -> dict[str, str]:
    return {state.file: state.problem for state in verify_data.verify(data, root, processes=1)}


def test_damage_is_named_and_repaired(
    dataset: Dataset, data: PrepareConfig, tmp_path: Path
) -> None:
    """A bit of an image, a label, a cut file, a missing file, a changed list: each is
    found; a repair gives the same bytes.
    """
    shards = [dataset.shards_folder / name for name in ("train-00000.arrow", "val-00000.arrow")]
    sound = {path: path.read_bytes() for path in shards}
    digest = dataset.manifest.digest
    assert problems(data, tmp_path) == {}

    image = dataset.split("train").encoded(5)
    at = sound[shards[0]].index(image) + len(image) // 2
    flipped = bytearray(sound[shards[0]])
    flipped[at] ^= 4
    shards[0].write_bytes(flipped)
    assert problems(data, tmp_path) == {
        "train-00000.arrow": "the bytes of blue/5.jpg are not those that were prepared"
    }

    name = sound[shards[1]].index(b"green/3.jpg")
    renamed = bytearray(sound[shards[1]])
    renamed[name] = ord("G")
    shards[1].write_bytes(renamed)
    assert problems(data, tmp_path)["val-00000.arrow"].startswith("has other rows")
    shards[1].write_bytes(sound[shards[1]][:-400])
    assert problems(data, tmp_path)["val-00000.arrow"].startswith("cannot be read as a shard")
    shards[1].unlink()
    assert problems(data, tmp_path)["val-00000.arrow"] == "is missing"
    (dataset.folder / "rejected.jsonl").write_text("{}\n")

    ended = in_process("data", "verify", dataset.folder, "--processes", 1)
    assert ended.returncode == 3
    assert f"{shards[0]}: the bytes of blue/5.jpg" in ended.stdout
    assert (
        ended.stdout.splitlines()[-1]
        == f"{dataset.folder}: to make 3 files again from the source: going-deeper data verify"
        f" {dataset.folder} --repair"
    )
    ended = in_process("data", "verify", "--root", tmp_path, "--processes", 1, "--repair")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == f"{dataset.folder}: repaired, 3 files made again"
    assert {path: path.read_bytes() for path in shards} == sound
    assert Dataset(data, tmp_path).manifest.digest == digest
    ended = in_process("data", "verify", dataset.folder)
    assert ended.stdout == f"{dataset.folder}: colours is as it was prepared\n"


@pytest.mark.parametrize("share", [k / 40 for k in range(40)])
def test_any_damaged_byte_is_found(
    dataset: Dataset, data: PrepareConfig, tmp_path: Path, share: float
) -> None:
    """A byte that is not found is one of Arrow's own without meaning: then every row
    reads as it was.
    """
    path = dataset.shards_folder / "train-00000.arrow"
    content = bytearray(path.read_bytes())
    before = [
        (*dataset.split("train").image_ids,),
        [dataset.split("train").encoded(k) for k in range(24)],
    ]
    at = int(share * len(content))
    content[at : at + 16] = bytes(value ^ 0xA5 for value in content[at : at + 16])
    path.write_bytes(content)
    if not problems(data, tmp_path):
        now = Dataset(data, tmp_path).split("train")
        assert [(*now.image_ids,), [now.encoded(k) for k in range(24)]] == before


def test_repair_needs_the_source(dataset: Dataset, data: PrepareConfig, tmp_path: Path) -> None:
    (dataset.shards_folder / "val-00000.arrow").unlink()
    elsewhere = data.but(path=tmp_path / "nowhere")
    with pytest.raises(InputError, match="no such folder"):
        verify_data.repair(elsewhere, tmp_path, verify_data.verify(data, tmp_path))
    assert data.is_complete(tmp_path)


def test_a_repair_gives_what_was_there_or_nothing(image_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    shutil.copytree(image_folder, folder)
    config = PrepareConfig(source="imagefolder", name="colours", path=folder)
    dataset = prepare(config, tmp_path, processes=1)
    (dataset.shards_folder / "val-00000.arrow").unlink()
    image = folder / "val/red/1.jpg"
    image.write_bytes(image.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"no longer holds what val-00000\.arrow was made from"):
        verify_data.repair(config, tmp_path, verify_data.verify(config, tmp_path, processes=1))
    assert sorted(path.name for path in dataset.folder.iterdir()) == [
        "leaks.jsonl",
        "manifest.json",
        "rejected.jsonl",
        "shards",
    ]


def test_manifests_are_not_trusted(dataset: Dataset, data: PrepareConfig, tmp_path: Path) -> None:
    """A path in a manifest is not followed, counts are counted, and a copy is not taken
    for the original.
    """
    path = dataset.folder / "manifest.json"
    sound = path.read_text()
    victim = tmp_path / "victim.txt"
    victim.write_text("here")
    path.write_text(sound.replace('"val": 15', '"val": 14'))
    with pytest.raises(InputError, match=r"manifest.json: is damaged \(digest"):
        problems(data, tmp_path)

    def other_file(facts: dict[str, Any]) -> None:
        facts["files"]["../../victim.txt"] = facts["files"].pop("rejected.jsonl")
        facts["digest"] = digest_of(facts["files"])

    reseal(path, other_file)
    assert problems(data, tmp_path) == {"manifest.json": "does not list the files that were sealed"}
    path.write_text(sound)
    reseal(path, lambda facts: facts["num_images"].update(val=14))
    assert problems(data, tmp_path) == {"manifest.json": "says 14 val images, the shards hold 15"}
    with pytest.raises(InputError, match=r"manifest.json: is damaged; remove it and prepare"):
        verify_data.repair(data, tmp_path, verify_data.verify(data, tmp_path, processes=1))
    path.write_text(sound)
    shutil.copytree(dataset.folder, tmp_path / "datasets/backup")
    with pytest.raises(
        InputError,
        match=f"backup: has another name than it was made under; call it ROOT/datasets/{data.hash}",
    ):
        verify_data.config_of(tmp_path / "datasets/backup")
    assert victim.read_text() == "here"


def test_a_damaged_manifest_stops_no_other_check(dataset: Dataset, tmp_path: Path) -> None:
    other = tmp_path / "datasets" / ("0" * 16)
    other.mkdir()
    (other / "manifest.json").write_text("{")
    ended = in_process("data", "verify", "--root", tmp_path, "--processes", 1)
    assert ended.returncode == 3
    assert ended.stdout.splitlines() == [
        (
            f"{other}/manifest.json: is damaged (Invalid JSON: EOF while parsing an object at line"
            " 1 column 1); remove it and prepare the data set again: whole shards are kept"
        ),
        f"{dataset.folder}: colours is as it was prepared",
    ]


def test_what_is_no_data_set_is_said(tmp_path: Path) -> None:
    ended = in_process("data", "verify", tmp_path)
    assert (ended.returncode, ended.stderr) == (
        2,
        (
            f"going-deeper: {tmp_path}: is no prepared data set; expected a folder such as"
            " outputs/datasets/<hash>\n"
        ),
    )


def test_show_is_one_page(dataset: Dataset, tmp_path: Path) -> None:
    page = tmp_path / "sheet.html"
    ended = in_process("data", "show", dataset.folder, "--images", 10, "--out", page)
    assert ended.returncode == 0, ended.stderr
    assert "train: images 24, MB 0.1, classes 3, a class: least 8, most 8" in ended.stdout
    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") == 10
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    assert "blue/0.jpg" in html


def test_wrong_commands_are_one_line(tmp_path: Path, image_folder: Path) -> None:
    for arguments, message in (
        (["ilsvrc2012", tmp_path], "ILSVRC2012_devkit_t12.tar.gz: no such file"),
        (["imagefolder"], "data prepare imagefolder: needs WHERE, a folder"),
        (
            ["imagefolder", image_folder, "--train-split", "x"],
            "train_split is for source hub or datasets, not for imagefolder",
        ),
        (["imagefolder", image_folder, "--shard-mib", 0], "shard_mib = 0"),
        (
            ["imagefolder", image_folder, "--trust-archives"],
            "trust_archives is for source ilsvrc2012, not for imagefolder",
        ),
        (["hub", "me/colours"], "source hub needs hub (a name) and revision"),
        (["hub", "me/colours", "--revision", "main"], "revision"),
        (["imagefolder", image_folder, "--name", "a b"], "name"),
        (["tarballs", tmp_path], "Invalid value for"),
    ):
        ended = in_process("data", "prepare", *arguments, "--root", tmp_path / "root")
        assert ended.returncode == 2, ended.stderr
        assert message in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "root").exists()


def test_training_images_may_be_stored_smaller(
    data: PrepareConfig, dataset: Dataset, tmp_path: Path
) -> None:
    """Only larger images are stored smaller. Validation images stay, and the digest of
    the source's bytes is kept for the leak check.
    """
    smaller = prepare(data.but(reencode=ReencodeConfig(shorter_side=50)), tmp_path, processes=1)
    before, after = dataset.split("train"), smaller.split("train")
    for index in range(len(before)):
        old, new = (
            images.decode(before.encoded(index)).size,
            images.decode(after.encoded(index)).size,
        )
        assert min(new) == min(50, *old)
        assert new == (after.column("width")[index].as_py(), after.column("height")[index].as_py())
        source = after.column("source_sha256")[index].as_py()
        original = before.column("sha256")[index].as_py()
        assert source == (original if min(old) > 50 else None)
    assert smaller.manifest.files["val-00000.arrow"] == dataset.manifest.files["val-00000.arrow"]
    assert json.loads((smaller.folder / "manifest.json").read_text())["config"]["reencode"] == {
        "shorter_side": 50,
        "quality": 90,
    }


def test_a_swap_of_bytes_at_equal_size_is_noticed(image_folder: Path, tmp_path: Path) -> None:
    folder, root = tmp_path / "images", tmp_path / "root"
    shutil.copytree(image_folder, folder)
    command = ("data", "prepare", "imagefolder", folder, "--root", root, "--processes", 1)
    assert in_process(*command).returncode == 0
    same = in_process(*command, "--check")
    assert (same.returncode, "the source has the content" in same.stdout) == (0, True)
    image = folder / "val/red/1.jpg"
    changed = bytearray(image.read_bytes())
    changed[-20] ^= 1
    image.write_bytes(changed)
    refused = in_process(*command)
    assert refused.returncode == 2
    assert "val/red/1.jpg" in refused.stderr or "red/1.jpg has another content" in refused.stderr
    other = in_process(*command, "--check")
    assert other.returncode == 3
    assert "the source has other content now: the files of val-00000.arrow" in other.stderr
    assert not list(root.glob("datasets/*/.check*"))
