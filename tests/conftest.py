"""A small image folder and a small study on it, for all tests."""

import os
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image
from xdist.scheduler import LoadScopeScheduling

from pipeline.configs.compare import table3
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.network import NetworkConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import CheckConfig, Study
from pipeline.configs.train import TrainConfig
from tests.commands import EXPERIMENT, Finished, going_deeper
from tests.forks import PRELOADED
from tests.wandb_server import wandb_stub
from tests.wandb_stub import WandbStub

settings.register_profile("shared", deadline=None)  # a busy machine is slow, not wrong
settings.load_profile("shared")
os.environ.setdefault("WANDB_MODE", "disabled")  # tests of tracking switch it on
get_context("forkserver").set_forkserver_preload(list(PRELOADED))  # if a server is started


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """One worker runs all tests of a file, as they share fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile:
    return _ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes a worker longest starts first: at the end it would run alone. The two
    files on SLURM follow one another, as what waits goes well beside what computes.
    """
    longest = (
        "tests/slurm/test_disturbances.py",
        "tests/test_cli.py",
        "tests/slurm/test_jobs.py",
        "tests/tracking/test_sync.py",
    )
    files = {file: k for k, file in enumerate(longest)}
    items.sort(key=lambda item: files.get(item.nodeid.partition("::")[0], len(longest)))
    if os.environ.get("FAULTS") != "whole":
        items[:] = [item for item in items if item.get_closest_marker("campaign") is None]
    for item in items:
        if {"finished", "cluster", "server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.processes)


COLOURS = {"blue": (40, 60, 200), "green": (40, 180, 60), "red": (200, 40, 50)}


@pytest.fixture(autouse=True)
def environment_stays() -> Iterator[None]:
    """A launch sets what its jobs inherit, such as PYTHONPATH; no other test does."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Run on one thread, as the operators do in a rank."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of noisy one-coloured JPEGs: 8 for training and 5 for validation
    each, of varied sizes.
    """
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 5)):
        for name, colour in COLOURS.items():
            (folder / split / name).mkdir(parents=True)
            for k in range(count):
                height, width = int(rng.integers(40, 90)), int(rng.integers(40, 90))
                pixels = np.clip(rng.normal(colour, 40, (height, width, 3)), 0, 255).astype(
                    np.uint8
                )
                Image.fromarray(pixels).save(folder / split / name / f"{k}.jpg", quality=90)
    return folder


@pytest.fixture(scope="session")
def data(image_folder: Path) -> PrepareConfig:
    return PrepareConfig(source="imagefolder", name="colours", path=image_folder)


@pytest.fixture(scope="session")
def run_config(data: PrepareConfig) -> TrainConfig:
    """A training of 12 steps of a very small network."""
    return TrainConfig(
        data=data,
        network=NetworkConfig(input_size=42, width=0.125),
        num_epochs=4,
        global_batch_size=8,
        learning_rate=0.02,
        schedule="cosine",
        averaging_decay=0.9,
        class_balance=0.5,
        checkpoint_every_seconds=0,
    )


@pytest.fixture(scope="session")
def study(data: PrepareConfig, run_config: TrainConfig) -> Study:
    """A study of two members: the six cells of Table 3."""
    runs = [run_config.but(data_seed=seed) for seed in range(2)]
    members = tuple(EvaluateConfig(data=data, classifier=run) for run in runs)
    return Study(name="colours", title="Colours", check=CheckConfig(results=table3(members)))


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(EXPERIMENT)
    return path


@pytest.fixture(scope="session")
def finished(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The finished study, made once for all tests that look at its artefacts.

    Its two members train side by side, two ranks each.
    """
    folder = tmp_path_factory.mktemp("finished")
    experiment, root = folder / "tiny.py", folder / "root"
    experiment.write_text(EXPERIMENT)
    process = going_deeper(
        "run", experiment, "--data", image_folder, "--root", root, "--processes", 4
    )
    assert process.returncode == 0, process.stderr
    return Finished(experiment, image_folder, root, process)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbStub]:
    """A W&B server in miniature; the user's environment says where it is. It knows
    every operation that it is asked for.
    """
    monkeypatch.delenv("WANDB_MODE")
    with wandb_stub() as stub:
        for name, value in stub.environment.items():
            monkeypatch.setenv(name, value)
        yield stub
        assert stub.unknown == []
