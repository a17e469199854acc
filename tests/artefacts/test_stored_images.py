"""Images are read at their place in a shard, whole, and nothing beside them."""

import hashlib
import os
import pickle
import random
from pathlib import Path

import pytest

from pipeline.artefacts import shards
from pipeline.artefacts.dataset import Split
from pipeline.artefacts.shard_maps import map_shard
from pipeline.artefacts.shards import Record, write_shard
from pipeline.artefacts.stored_images import StoredImages
from pipeline.errors import StageFailed


def record(number: int, content: bytes) -> Record:
    return Record(str(number), content, 0, 9, 9, hashlib.sha256(content).hexdigest())


def written(folder: Path, contents: list[bytes], per_shard: int) -> list[Path]:
    paths = []
    for first in range(0, len(contents), per_shard):
        path = folder / f"val-{first:05d}.arrow"
        some = enumerate(contents[first : first + per_shard], start=first)
        write_shard(path, ["a"], (record(*item) for item in some))
        paths.append(path)
    return paths


@pytest.mark.parametrize("batch_bytes", [1, 3000, 2**24])
def test_every_image_is_at_its_place(
    tmp_path: Path, batch_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also empty ones, in shards of one or of many batches, and in another process."""
    monkeypatch.setattr(shards, "BATCH_BYTES", batch_bytes)
    rng = random.Random(0)
    contents = [rng.randbytes(rng.choice((0, 1, 700, 5000))) for _ in range(60)]
    paths = written(tmp_path, contents, per_shard=25)
    paths = [*paths[:1], *written(tmp_path / "x", [], 1), *paths[1:]]
    images = StoredImages([map_shard(path) for path in paths])
    assert images.num_bytes == sum(map(len, contents))
    for index in rng.sample(range(60), 60):
        assert images.read(index) == contents[index]
    there: StoredImages = pickle.loads(pickle.dumps(images))
    assert [there.read(index) for index in range(60)] == contents


def test_no_shard_is_no_image() -> None:
    assert len(StoredImages([])) == len(Split([])) == Split([]).num_bytes == 0


def test_a_shard_that_is_cut_later_is_noticed(tmp_path: Path) -> None:
    """Where a mapped file would end the process."""
    (path,) = written(tmp_path, [b"a" * 9000, b"b" * 9000], per_shard=2)
    split = Split([path])
    os.truncate(path, 12000)
    assert split.encoded(0) == b"a" * 9000
    with pytest.raises(StageFailed, match="image number 1: its bytes are not those"):
        split.encoded(1)
