"""Validation in training opens each image once, and counts what two passes count."""

from collections import Counter
from pathlib import Path
from typing import cast

import pytest
import torch

from pipeline.artefacts.dataset import Dataset, Split
from pipeline.configs.crops import CropsConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.models.classify import classify
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.paper.googlenet import GoogLeNet
from pipeline.runtime import process_group
from pipeline.statistics.label_ranks import rank_of_label
from pipeline.training.learner import Learner
from pipeline.training.validation import validate

SEED = 5  # of two networks that disagree


@pytest.mark.parametrize("cores", [1, 3])
def test_each_image_is_opened_once_for_both_networks(
    root: Path,
    data: PrepareConfig,
    run_config: TrainConfig,
    cores: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    split, opened = Dataset(data, root).split("val"), Counter[int]()
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", str(cores))
    monkeypatch.setattr("pipeline.runtime.environment.num_cores", lambda: cores)
    learner = Learner(run_config, 3, process_group.join("fp32"))
    networks = (learner.network, cast(GoogLeNet, learner.average.module))
    torch.manual_seed(SEED)
    for network in networks:
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    expected = []
    for network in networks:
        preprocessing = run_config.pixels.preprocessing
        classifier = Classifier(network, preprocessing, run_config.input_size)
        engine = Engine(classifier, torch.device("cpu"), run_config.precision)
        scores, _ = classify(engine, split, range(15), 3, ("crops_1",), CropsConfig())
        rank = rank_of_label(scores["crops_1"], split.labels)
        expected += [float((rank >= top).mean()) for top in (1, 5)]
    encoded = Split.encoded

    def counted(self: Split, index: int) -> bytes:
        opened[index] += 1
        return encoded(self, index)

    monkeypatch.setattr(Split, "encoded", counted)
    errors = validate(learner, split)
    assert opened == Counter(range(15))
    assert expected[0] != expected[2]
    assert list(errors.plain().values()) == pytest.approx(expected, abs=0)
