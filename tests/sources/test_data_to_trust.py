"""Whenever a preparation is killed, and whatever changes meanwhile: the bytes are the
same.
"""

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.artefacts.dataset import Dataset
from pipeline.configs.prepare import PrepareConfig
from pipeline.stages.prepare import prepare, prepare_part
from tests.commands import TOP
from tests.ilsvrc_archives import write_archives
from tests.pictures import encode, noise

NUM_KILLS = 10


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,100 images of some 45 kB in 100 classes: about 40 shards of one MiB."""
    folder = tmp_path_factory.mktemp("archives")
    encoded = [encode(noise(k, 190), "JPEG", quality=95) for k in range(1100)]
    wnids = [f"n0{k:07d}" for k in range(100)]
    train = {
        wnid: [(f"{wnid}_{k}.JPEG", encoded[10 * c + k]) for k in range(10)]
        for c, wnid in enumerate(wnids)
    }
    write_archives(folder, train, [(wnids[k], encoded[1000 + k]) for k in range(100)])
    return folder


def command(archives: Path, root: Path, processes: int) -> list[str]:
    options = [
        "--name",
        "kills",
        "--trust-archives",
        "--shard-mib",
        "1",
        "--root",
        str(root),
        "--processes",
        str(processes),
    ]
    return [
        sys.executable,
        "-m",
        "pipeline",
        "data",
        "prepare",
        "ilsvrc2012",
        str(archives),
        *options,
    ]


@pytest.mark.slow
def test_killed_ten_times_it_gives_the_same_bytes(archives: Path, tmp_path: Path) -> None:
    """One process undisturbed; two processes, killed again and again in the midst of
    their shards.
    """
    config = PrepareConfig(
        source="ilsvrc2012", name="kills", path=archives, trust_archives=True, shard_mib=1
    )
    calm = prepare(config, tmp_path / "calm", processes=1)
    rng, kills, shards_kept = random.Random(0), 0, []
    notes = tmp_path / "killed" / config.folder / "shards"

    def num_notes() -> int:
        return len(list(notes.glob("*/*.json")))

    while kills < NUM_KILLS:
        before = num_notes()
        process = subprocess.Popen(
            command(archives, tmp_path / "killed", 2), cwd=TOP, stderr=subprocess.DEVNULL
        )
        wanted = before + rng.randint(0, 2)
        while num_notes() < wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.02) if wanted > before else rng.uniform(0, 0.8))
        assert process.poll() is None, "it was done before it could be killed; make it longer"
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        shards_kept.append(num_notes())
    assert shards_kept == sorted(shards_kept)
    assert 5 < shards_kept[-1] < len(calm.shards("train") + calm.shards("val"))
    ended = subprocess.run(
        command(archives, tmp_path / "killed", 2),
        cwd=TOP,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "steps were done before" in ended.stderr
    made = Dataset(config, tmp_path / "killed")
    assert made.manifest.files == calm.manifest.files
    assert made.manifest.digest == calm.manifest.digest
    assert {path.name for path in made.folder.iterdir()} == {
        "manifest.json",
        "rejected.jsonl",
        "leaks.jsonl",
        "shards",
    }
    whole = {name for name in made.manifest.files if name.endswith(".arrow")}
    assert {path.name for path in made.shards_folder.iterdir()} == whole | {
        f"{name}.json" for name in whole
    }  # nothing half-done
    for path in made.shards("train") + made.shards("val"):
        assert path.read_bytes() == (calm.shards_folder / path.name).read_bytes()


def test_two_plans_never_mix(archives: Path, tmp_path: Path) -> None:
    """Shards of another size that an interrupted attempt left, and one that was cut
    since, are not taken for these.
    """
    config = PrepareConfig(
        source="ilsvrc2012", name="plans", path=archives, trust_archives=True, shard_mib=4
    )
    calm = prepare(config, tmp_path / "calm", processes=1)
    root = tmp_path / "root"
    prepare_part(config, root, 0, 2)
    prepare_part(config.but(shard_mib=9), root, 0, 2)
    cut = next((root / config.folder).glob("shards/*/train-00002.arrow"))
    cut.write_bytes(cut.read_bytes()[:-500])
    prepare_part(config.but(shard_mib=9), root, 1, 2)
    made = prepare(config, root, processes=1)
    assert made.manifest.files == calm.manifest.files
    assert [path.name for path in (made.folder / "shards").iterdir()] == [made.shards_folder.name]
    for path in calm.shards("train") + calm.shards("val"):
        assert (made.shards_folder / path.name).read_bytes() == path.read_bytes()


def test_a_source_that_changes_is_not_mixed(image_folder: Path, tmp_path: Path) -> None:
    """A file is written again, as long as before, between two attempts."""
    folder = tmp_path / "images"
    shutil.copytree(image_folder, folder)
    config = PrepareConfig(source="imagefolder", name="changing", path=folder)
    prepare_part(config, tmp_path / "root", 0, 1)
    path = folder / "train/red/3.jpg"
    changed = bytearray(path.read_bytes())
    changed[-20] ^= 1
    path.write_bytes(changed)
    made = prepare(config, tmp_path / "root", processes=1)
    assert bytes(changed) in [made.split("train").encoded(k) for k in range(24)]


@pytest.mark.slow
def test_sigterm_is_obeyed_at_once(archives: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(archives, tmp_path, 2), cwd=TOP, stderr=subprocess.PIPE, text=True
    )
    while not list(tmp_path.glob("datasets/*/shards/*/*.json")):
        assert process.poll() is None
        time.sleep(0.002)
    process.terminate()
    _, said = process.communicate()
    assert process.returncode == 143, said
    assert (
        said.splitlines()[-1]
        == "going-deeper: SIGTERM: what was finished is kept; the same command goes on from here"
    )
