"""Whoever has the archive of Caltech-101 gets the data of RESULTS.md's study."""

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.configs.experiment import load_study
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.stages.prepare import prepare
from pipeline.tools.caltech101 import INSIDE, places, sort_photographs, split_list
from tests.commands import TOP, in_process

PHOTOGRAPHS = TOP.parent / "shared/data/caltech101"


def archive(path: Path, photographs: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in photographs.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_the_list_is_that_of_the_results() -> None:
    splits = [*places().values()]
    assert (splits.count("train"), splits.count("val")) == (6960, 1212)
    (path,) = (TOP / "results/datasets").glob("*/manifest.json")
    kept = json.loads(path.read_text())
    assert kept["classes"] == [*split_list()["classes"]]
    assert (kept["digest"], kept["source_fingerprint"]) == (
        split_list()["content"],
        split_list()["fingerprint"],
    )
    study = load_study(TOP / "experiments/caltech101.py", ["--data", "anywhere/caltech101"])
    assert study.check.results[0].members[0].data.hash == path.parent.name


@pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason=f"{PHOTOGRAPHS} is not there")
@pytest.mark.slow
def test_the_archive_gives_the_data_of_the_results(tmp_path: Path) -> None:
    photographs = {
        f"./{INSIDE}/{path.parent.name}/{path.name}": path.read_bytes()
        for path in sorted(PHOTOGRAPHS.glob("*/*/*.jpg"))
    }
    others = {f"{INSIDE}/BACKGROUND_Google/image_0001.jpg": b"x", f"{INSIDE}/ant/._image": b"x"}
    inner = archive(tmp_path / f"{INSIDE}.tar.gz", photographs | others)
    with zipfile.ZipFile(tmp_path / "caltech-101.zip", "w") as whole:
        whole.write(inner, f"caltech-101/{INSIDE}.tar.gz")
    shown = in_process("data", "caltech101", tmp_path / "caltech-101.zip", tmp_path / "caltech101")
    assert shown.returncode == 0, shown.stderr
    assert "8172 photographs; a report on them shows content ab2e30a67606" in shown.stdout
    config = PrepareConfig(source="imagefolder", name="any", path=tmp_path / "caltech101")
    assert prepare(config, tmp_path / "root").manifest.digest == split_list()["content"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "cannot be read"),
        (None, "has no 101_ObjectCategories/Faces/image_0001.jpg, and lacks 8172 of 8172"),
    ],
)
def test_another_archive_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.tar.gz"
    if content is None:
        archive(path, {"other/file.jpg": b"x"})
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        sort_photographs(path, tmp_path / "made")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tar.gz"]
    (tmp_path / "made").mkdir()
    with pytest.raises(InputError, match="exists already"):
        sort_photographs(path, tmp_path / "made")
