"""What belongs to another data set, evaluation or training is never taken for this
one's, whole as it is.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.artefacts.checkpoints import Checkpoints
from pipeline.artefacts.predictions import Predictions
from pipeline.configs.compare import Arm, CompareConfig
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.experiment import load_study
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.stages import evaluate
from pipeline.stages.prepare import prepare, prepare_part
from pipeline.tools.recount import publish
from tests.commands import Finished, contents


def folder_of(path: Path, seed: int) -> Path:
    """Two classes of images without compression: equal names are equal sizes."""
    rng = np.random.default_rng(seed)
    for name in ("a", "b"):
        (path / "val" / name).mkdir(parents=True)
        for k in range(3):
            pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(path / "val" / name / f"{k}.ppm")
    return path


def named(path: Path) -> PrepareConfig:
    return PrepareConfig(source="labelled_folder", name="mine", path=path)


def test_another_folder_of_equal_names_and_sizes_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy is the same data set, and is read once."""
    one, other = folder_of(tmp_path / "one", 1), folder_of(tmp_path / "other", 2)
    root = tmp_path / "root"
    assert named(one).hash == named(other).hash
    prepare(named(one), root, processes=1)
    copy = Path(shutil.copytree(one, tmp_path / "copy", copy_function=shutil.copy))
    capsys.readouterr()
    for expected in (1, 0):
        prepare(named(copy), root, processes=1)
        assert capsys.readouterr().err.count("their contents are compared") == expected
    with pytest.raises(InputError, match=r"ppm has another content than the image that"):
        prepare(named(other), root, processes=1)


def test_shards_of_another_folder_are_made_again(tmp_path: Path) -> None:
    """A half-restored data set: the shard and its note are another's of one hash."""
    one, other = folder_of(tmp_path / "one", 1), folder_of(tmp_path / "other", 2)
    roots = {name: tmp_path / name for name in ("root1", "root2")}
    right = prepare(named(one), roots["root1"], processes=1)
    wrong = prepare(named(other), roots["root2"], processes=1)
    (right.folder / "manifest.json").unlink()
    for path in wrong.shards_folder.iterdir():
        shutil.copy(path, right.shards_folder / path.name)
    again = prepare(named(one), roots["root1"], processes=1)
    assert again.manifest.digest == right.manifest.digest
    prepare_part(named(one), roots["root1"], 0, 1)


def test_chunks_of_another_member_are_done_again(
    finished: Finished, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = finished.copy(tmp_path)
    study = load_study(finished.experiment, ["--data", str(finished.data)])
    # all images in a chunk: how many a smaller one holds depends on the clock
    members = [member.but(images_per_chunk=15) for member in study.check.results[0].members]
    before, chunks = contents(root), []
    for member in members:
        shutil.rmtree(root / member.folder)
        evaluate.evaluate_part(member, root, 0, 1)
        chunks.append(sorted((root / member.folder / "chunks").rglob("*.safetensors")))
    for own, others in zip(*chunks, strict=True):
        shutil.copy(others, own)
    for member in members:
        evaluate.evaluate(member, root)
        assert Predictions(member, root).probabilities("crops_1").shape == (15, 3)
    assert capfd.readouterr().err.count("it is done again") == len(chunks[0])
    assert contents(root) == before


def test_checkpoints_of_another_training_are_passed_over(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "one").save(3, {"step": 3})
    assert Checkpoints(tmp_path, "one").newest() == tmp_path / "step_00000003"
    assert Checkpoints(tmp_path, "other").newest() is None


def test_equal_files_are_one_network(tmp_path: Path) -> None:
    """Where the file lies is no matter of the network."""
    data = PrepareConfig(source="labelled_folder", name="any", path=tmp_path)

    def member(name: str, digit: str = "0") -> EvaluateConfig:
        foreign = ForeignConfig(
            arch="googlenet",
            weights=tmp_path / name,
            sha256=digit * 64,
            mean=(0, 0, 0),
            std=(1, 1, 1),
        )
        return EvaluateConfig(data=data, classifier=foreign)

    twice = (member("one.pt"), member("copy.pt"))
    two = (member("one.pt"), member("other.pt", "1"))
    arms = [Arm(name=name, members=members) for name, members in (("a", two), ("b", twice))]
    with pytest.raises(ValueError, match="arm b: one network counts as several members"):
        CompareConfig(question="Which?", arms=tuple(arms))


def test_a_working_root_is_not_published_into(finished: Finished, tmp_path: Path) -> None:
    root = finished.copy(tmp_path)
    study = load_study(finished.experiment, ["--data", str(finished.data)])
    with pytest.raises(InputError, match="is a root with artefacts that were not published"):
        publish(study, finished.root, root)
    publish(study, root, tmp_path / "kept")
    publish(study, root, tmp_path / "kept")
