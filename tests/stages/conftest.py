"""A study of seven members that were never trained, for the tests of reports."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.artefacts.contents import EvaluationFacts
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.configs.compare import table3
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import CheckConfig, Study
from pipeline.configs.train import TrainConfig
from pipeline.runtime import disk
from pipeline.stages.check import check
from pipeline.stages.ensemble import ensemble
from pipeline.stages.prepare import prepare
from pipeline.stages.report import report
from tests.sealed import seal

SEVEN = 7


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, data: PrepareConfig) -> Path:
    """The root that holds the prepared images, to be copied."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(data, folder, processes=1)
    return folder


@pytest.fixture
def root(tmp_path: Path, prepared: Path, data: PrepareConfig) -> Path:
    """The test's own root, with the prepared images. Another module may have a root
    that its tests share.
    """
    shutil.copytree(prepared / data.folder, tmp_path / "root" / data.folder)
    return tmp_path / "root"


@pytest.fixture(scope="module")
def seven_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def seven_members(seven_root: Path, data: PrepareConfig, run_config: TrainConfig) -> Study:
    """Seven members that were never trained. Their probabilities are drawn, better ones
    with more crops, and one image has none.
    """
    prepare(data, seven_root, processes=1)
    split = Dataset(data, seven_root).split("val")
    rng, members = np.random.default_rng(0), []
    for seed in range(SEVEN):
        run = run_config.but(data_seed=seed)
        rows = [
            {
                "step": step,
                "epoch": step / 3,
                **{
                    f"val_top{top}_error_{w}": 0.9 - step / 20
                    for top in (1, 5)
                    for w in ("averaged", "raw")
                },
            }
            for step in (3, 6, 9, 12)
        ]
        disk.write_atomic(
            seven_root / run.folder / "metrics.jsonl",
            "".join(json.dumps(row) + "\n" for row in rows).encode(),
        )
        errors = {
            f"top{top}_error_{w}": 0.9 - 12 / 20 for top in (1, 5) for w in ("averaged", "raw")
        }
        seal(run, seven_root, steps=12, core_or_gpu_hours=0.1, validation=errors)
        members.append(EvaluateConfig(data=data, classifier=run))
        scores = {}
        for policy, noise in (("crops_1", 1.0), ("crops_10", 0.7), ("crops_144", 0.5)):
            drawn = np.eye(3)[split.labels] * 0.5 + rng.random((len(split), 3)) * noise
            drawn[4] = np.nan
            scores[policy] = (drawn / drawn.sum(axis=1, keepdims=True)).astype(np.float32)
        predictions = Predictions(members[-1], seven_root)
        predictions.publish_chunk(range(len(split)), scores, {4: "not an image"}, 360.0, "drawn")
        evaluation = EvaluationFacts(
            num_images=len(split), world_size=1, device="cpu", num_rejected=0
        )
        predictions.merge([range(len(split))], split.image_ids, split.labels, evaluation)
    seven = Study(
        name="seven", title="Seven <members>", check=CheckConfig(results=table3(tuple(members)))
    )
    for cell in seven.check.results:
        ensemble(cell, seven_root)
    check(seven.check, seven_root)
    report(seven, seven_root)
    return seven
