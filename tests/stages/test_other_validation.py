"""A network of ours on another validation set: the same classes in the same order."""

import shutil
from pathlib import Path

import pytest

from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.stages.evaluate import evaluate
from pipeline.stages.prepare import prepare
from pipeline.stages.train import train


@pytest.fixture(scope="module")
def root(
    tmp_path_factory: pytest.TempPathFactory, data: PrepareConfig, run_config: TrainConfig
) -> Path:
    folder = tmp_path_factory.mktemp("root")
    prepare(data, folder)
    train(run_config, folder)
    return folder


def another(image_folder: Path, top: Path, names: dict[str, str], **more: object) -> PrepareConfig:
    """The same validation images, in folders of other names."""
    for own, other in names.items():
        shutil.copytree(image_folder / "val" / own, top / other)
    return PrepareConfig(source="labelled_folder", name=top.name, path=top, **more)


NUMBERED = {"blue": "0", "green": "1", "red": "2"}


def test_numbered_folders_are_the_outputs(
    root: Path, image_folder: Path, run_config: TrainConfig, tmp_path: Path
) -> None:
    """As ImageNet-V2's: the ranks are those of the same images under their names."""
    expected = evaluate(EvaluateConfig(data=run_config.data, classifier=run_config), root)
    for more in ({}, {"classes": ("blue", "green", "red")}):
        other = another(image_folder, tmp_path / f"v2-{len(more)}", NUMBERED, **more)
        prepare(other, root)
        there = evaluate(EvaluateConfig(data=other, classifier=run_config), root)
        assert there.ranks("crops_144").tolist() == expected.ranks("crops_144").tolist()


def test_classes_in_another_order_are_refused(
    root: Path, image_folder: Path, run_config: TrainConfig, tmp_path: Path
) -> None:
    other = another(image_folder, tmp_path / "renamed", {"blue": "a", "green": "b", "red": "c"})
    swapped = another(
        image_folder,
        tmp_path / "swapped",
        {n: n for n in NUMBERED},
        classes=("green", "blue", "red"),
    )
    for config in (other, swapped):
        prepare(config, root)
        with pytest.raises(InputError, match=r"other classes than colours, .*differs is number 0"):
            evaluate(EvaluateConfig(data=config, classifier=run_config), root)
