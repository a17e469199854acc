"""WebDataset's tar files: which are read, and the label of each image."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.artefacts.dataset import Dataset
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.sources import registry, webdataset
from pipeline.sources.layouts import recognise_layout
from pipeline.sources.recognition import synsets
from pipeline.stages.prepare import prepare
from tests.commands import in_process
from tests.labelled_pictures import by_colour, picture
from tests.webdataset_tars import Parts, sample, write_tar

WNIDS = ("n02099601", "n01440764", "n01443537")  # of labels 0, 1, 2: not sorted
TRAIN, VAL = (1, 2, 0), (2, 0, 1, 0)


def joined(samples: Sequence[Parts]) -> Parts:
    return [part for each in samples for part in each]


def train_parts(labels: Sequence[int], kind: str = "jpg", form: str = "cls") -> Parts:
    return joined([sample(f"{WNIDS[k]}_{n}", k, kind, form) for n, k in enumerate(labels)])


def val_parts(kind: str = "jpg", form: str = "cls", first: int = 1) -> Parts:
    named = enumerate(VAL, first)
    return joined([sample(f"ILSVRC2012_val_{n:08d}", k, kind, form) for n, k in named])


def hubs(top: Path, kind: str = "jpg", form: str = "cls") -> Path:
    """As timm/imagenet-1k-wds, with a note of what each file holds."""
    write_tar(top / "imagenet1k-train-0000.tar", train_parts(TRAIN[:2], kind, form))
    write_tar(top / "imagenet1k-train-0001.tar", train_parts(TRAIN[2:], kind, form))
    write_tar(top / "imagenet1k-validation-00.tar", val_parts(kind, form))
    names = sorted(path.name for path in top.glob("*.tar"))
    splits = {
        "train": {"filenames": names[:2], "shard_lengths": [2, 1]},
        "validation": {"filenames": names[2:], "shard_lengths": [4]},
    }
    (top / "_info.json").write_text(json.dumps({"splits": splits}))
    return top


def subfolders(top: Path, val: str = "val") -> Path:
    write_tar(top / "train/00000.tar", train_parts(TRAIN))
    write_tar(top / val / "00000.tar", val_parts())
    return top


def prepared(top: Path, root: Path, **more: object) -> Dataset:
    fields = recognise_layout(top).fields | more
    return prepare(PrepareConfig(name="data", path=top, **fields), root, processes=1)


@pytest.mark.parametrize("form", ["cls", "json", "both"])
@pytest.mark.parametrize("kind", ["jpg", "jpeg", "png", "JPEG"])
def test_every_form_of_members(kind: str, form: str, tmp_path: Path) -> None:
    top = hubs(tmp_path / "tars", kind, form)
    assert "WebDataset's tar files (3, the first: imagenet1k-train-0000.tar)" in (
        recognise_layout(top).words
    )
    dataset = prepared(top, tmp_path / "root")
    assert dataset.classes == list(WNIDS), "by the keys, in the order of the labels"
    assert by_colour(dataset, "train") == [(k, k) for k in TRAIN]
    assert by_colour(dataset) == [(k, k) for k in VAL]
    val = dataset.split("val")
    assert val.image_ids[0] == f"imagenet1k-validation-00/ILSVRC2012_val_00000001.{kind}"
    assert val.encoded(0) == picture(VAL[0], "PNG" if kind == "png" else "JPEG"), "as it was"


@pytest.mark.parametrize("val", ["val", "validation", "valid", "test"])
def test_folders_name_the_splits(val: str, tmp_path: Path) -> None:
    dataset = prepared(subfolders(tmp_path / "tars", val), tmp_path / "root")
    assert by_colour(dataset, "train") == [(k, k) for k in TRAIN]
    assert by_colour(dataset) == [(k, k) for k in VAL]


def test_labels_without_names_are_numbers_or_of_classes(tmp_path: Path) -> None:
    """Numbers keep their order, and with --classes their places among all."""
    top = tmp_path / "tars"
    write_tar(top / "part-0.tar", joined([sample(f"a/{k:03d}", k) for k in (10, 2, 9)]))
    assert recognise_layout(top).fields == {"source": "webdataset", "only_val": True}
    dataset = prepared(top, tmp_path / "root")
    assert dataset.classes == ["2", "9", "10"]
    assert by_colour(dataset) == [(10, 2), (2, 0), (9, 1)]
    names = tuple(f"thing {k}" for k in range(11))
    named = prepared(top, tmp_path / "named", classes=names)
    assert named.classes == list(names)
    assert by_colour(named) == [(10, 10), (2, 2), (9, 9)]
    with pytest.raises(InputError, match="has label 10, and --classes names 3 classes, for labels"):
        prepared(top, tmp_path / "other", classes=("a", "b", "c"))


def test_a_key_that_contradicts_names_no_class(tmp_path: Path) -> None:
    top = subfolders(tmp_path / "tars")
    wrong = [*train_parts(TRAIN), *sample(f"{WNIDS[0]}_9", 1)]
    write_tar(top / "train/00000.tar", wrong)
    assert prepared(top, tmp_path / "root").classes == ["0", "1", "2"]


def test_ilsvrcs_classes_are_known_by_the_keys(tmp_path: Path) -> None:
    """So the verdict tells what is missing of ILSVRC-2012."""
    parts = joined([sample(f"{wnid}_1", k) for k, wnid in enumerate(synsets())])
    write_tar(tmp_path / "tars/train-0.tar", parts)
    write_tar(tmp_path / "tars/val-0.tar", val_parts())
    dataset = prepared(tmp_path / "tars", tmp_path / "root")
    assert dataset.classes == synsets()
    assert "1000 train images of 1281167" in str(dataset.manifest.verdict)


def rewritten(name: str, parts: Parts) -> Callable[[Path], object]:
    return lambda top: write_tar(top / name, parts)


def cut(top: Path) -> None:
    path = top / "imagenet1k-train-0001.tar"
    path.write_bytes(path.read_bytes()[:1100])


VAL_TAR = "imagenet1k-validation-00.tar"
ONE = sample("a", 0)
BROKEN: list[tuple[Callable[[Path], object], str]] = [
    (cut, r"train-0001.tar: is damaged or ends early, after member 'n02099601_0.cls', at byte"),
    (
        rewritten(VAL_TAR, [("a.jpg", picture(0))]),
        r"00.tar: a has no label; expected a number in a",
    ),
    (rewritten(VAL_TAR, [("a.jpg", b"x"), ("a.json", b"{}")]), r"00.tar: a has no label"),
    (rewritten(VAL_TAR, [("a.cls", b"0")]), r"00.tar: a has 0 images \(cls\); expected one, such"),
    (rewritten(VAL_TAR, [*ONE, ("a.png", b"x")]), r"a has 2 images \(cls, jpg, png\)"),
    (
        rewritten(VAL_TAR, [*ONE, *sample("b", 1), *ONE]),
        r"00.tar: key a occurs twice; expected the",
    ),
    (rewritten(VAL_TAR, [*ONE, *ONE]), r"00.tar: a.cls occurs twice; expected each key once"),
    (rewritten(VAL_TAR, [*ONE, ("a.json", b'{"label": 2}')]), "a has two labels, 0 and 2;"),
    (
        rewritten(VAL_TAR, [("a.jpg", b""), ("a.cls", b"cat")]),
        r"a.cls holds 'cat'; expected a class",
    ),
    (rewritten(VAL_TAR, [("a.jpg", b""), ("a.cls", b"-1")]), r"a.cls holds '-1'; expected a class"),
    (rewritten(VAL_TAR, [("a.jpg", b""), ("a.json", b"[1]")]), r"a.json holds '\[1\]'; expected"),
    (rewritten(VAL_TAR, [("README", b"")]), "has member 'README'; expected KEY.jpg, KEY.cls"),
    (rewritten(VAL_TAR, []), "00.tar: holds no image; expected KEY.jpg with KEY.cls or KEY.json"),
    (rewritten(VAL_TAR, ONE), r"00.tar: holds 1 images, and _info.json says 4; fetch it again"),
    (
        lambda top: (top / "imagenet1k-train-0001.tar").unlink(),
        "lacks 1 tar files that _info.json names .the first: imagenet1k-train-0001.tar",
    ),
    (
        rewritten("imagenet1k-train-0004.tar", ONE),
        r"train-0001.tar: has number 1 and the next, imagenet1k-train-0004.tar, has 4: 2 between",
    ),
    (rewritten("more.tar", ONE), "more.tar: neither its name nor its folder's says its split"),
    (
        lambda top: (top / VAL_TAR).rename(top / "x-train-0.tar"),
        "has no tar files of val, by their",
    ),
]


@pytest.mark.parametrize(("damage", "message"), BROKEN)
def test_what_is_not_whole_is_named(
    damage: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    """Before anything is written."""
    top = hubs(tmp_path / "tars")
    damage(top)
    config = PrepareConfig(source="webdataset", name="data", path=top)
    with pytest.raises(InputError, match=message):
        prepare(config, tmp_path / "root", processes=1)
    assert not (tmp_path / "root/datasets").exists()


def test_a_damaged_first_tar_is_still_webdatasets(tmp_path: Path) -> None:
    """So the line says where it ends, not that the folder is unknown."""
    top = hubs(tmp_path / "tars")
    first = top / "imagenet1k-train-0000.tar"
    first.write_bytes(first.read_bytes()[:2500])
    assert "WebDataset's tar files" in recognise_layout(top).words
    with pytest.raises(InputError, match=r"train-0000.tar: is damaged or ends early, after member"):
        prepared(top, tmp_path / "root")


def test_clutter_and_remarks_are_left_out(tmp_path: Path) -> None:
    """As tar on macOS writes it, and webdataset's own."""
    top = hubs(tmp_path / "tars")
    more = [("._a.jpg", b"x"), ("__meta__.json", b"{}"), ("x/.DS_Store", b"x")]
    write_tar(top / VAL_TAR, [*more, *val_parts()])
    dataset = prepared(top, tmp_path / "root")
    assert dataset.manifest.left_out == {"._*": 1, ".DS_Store": 1}
    assert by_colour(dataset) == [(k, k) for k in VAL]


def test_a_part_is_taken_on_purpose(tmp_path: Path) -> None:
    top = hubs(tmp_path / "tars")
    (top / "imagenet1k-train-0001.tar").unlink()
    (top / "_info.json").unlink()
    dataset = prepared(top, tmp_path / "root")
    assert by_colour(dataset, "train") == [(k, k) for k in TRAIN[:2]]
    only = prepared(top, tmp_path / "only", only_val=True)
    assert len(only.split("val")) == len(VAL)


def test_other_tars_are_refused_with_a_way_on(tmp_path: Path) -> None:
    write_tar(tmp_path / "n01440764.tar", [("n01440764_1.JPEG", picture(0, "JPEG"))])
    with pytest.raises(InputError, match=r"neither ILSVRC-2012's archives nor WebDataset's"):
        recognise_layout(tmp_path)


def test_the_command_says_what_it_saw_and_checks(tmp_path: Path) -> None:
    top, root = hubs(tmp_path / "tars"), tmp_path / "root"
    line = ("data", "prepare", "auto", top, "--name", "mine", "--root", root, "--processes", 1)
    ended = in_process(*line)
    assert ended.returncode == 0, ended.stderr
    assert "imagenet1k-train-0000.tar); as going-deeper data prepare webdataset" in ended.stderr
    assert "the 3 labels are named by the wnids in the images' keys" in ended.stderr
    assert "has the content that was prepared" in in_process(*line, "--check").stdout
    other = [(name, part[::-1] if "jpg" in name else part) for name, part in val_parts()]
    write_tar(top / VAL_TAR, other)
    assert in_process(*line, "--check").returncode == 3
    ended = in_process(*line)
    assert ended.returncode == 2
    assert "has another content than the image that" in ended.stderr


def test_processes_share_many_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the data set is the same."""
    top = hubs(tmp_path / "tars")
    one = prepared(top, tmp_path / "one")
    monkeypatch.setattr(webdataset, "MANY", 2)
    monkeypatch.setattr(webdataset, "cores_per_rank", lambda: 2)
    many = prepared(top, tmp_path / "many")
    assert many.manifest.source_fingerprint == one.manifest.source_fingerprint
    (top / VAL_TAR).write_bytes((top / VAL_TAR).read_bytes()[:900])
    with pytest.raises(InputError, match="is damaged or ends early"):
        prepared(top, tmp_path / "other")


def test_a_label_of_validation_alone_and_packed_tars_are_said(tmp_path: Path) -> None:
    write_tar(tmp_path / "x-train-0.tar", train_parts((0, 1)))
    write_tar(tmp_path / "x-val-0.tar", val_parts())
    source = registry.open_source(PrepareConfig(source="webdataset", name="x", path=tmp_path))
    assert source.notes[-1] == "1 labels have no training image (the first: 2)"
    for tar in tmp_path.glob("*.tar"):
        tar.rename(tar.with_suffix(".tar.gz"))
    with pytest.raises(InputError, match=r"tar\.gz and others of its kind are not read; unpack"):
        registry.open_source(PrepareConfig(source="webdataset", name="x", path=tmp_path))
