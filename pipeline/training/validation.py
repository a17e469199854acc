"""Validation during a training, by the raw and by the averaged weights."""

from typing import cast

import torch

from pipeline.artefacts.contents import Validation
from pipeline.artefacts.dataset import Split
from pipeline.configs.evaluate import CropsConfig
from pipeline.models.classify import rank_of_labels
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.paper.googlenet import GoogLeNet
from pipeline.training.learner import Learner


def validate(learner: Learner, split: Split) -> Validation:
    """Return the errors of the raw and of the averaged weights, at one crop.

    Each rank counts the misses in every n-th image, n being the world size; the counts
    are summed.
    """
    config, accelerator = learner.config, learner.accelerator
    mine = range(accelerator.process_index, len(split), accelerator.num_processes)
    # the recipe's own crops
    crops = CropsConfig(aspect="warped" if config.sampling == "warped" else "kept")
    errors: list[tuple[float, float]] = []
    for network in (learner.network, cast(GoogLeNet, learner.average.module)):
        engine = Engine(
            Classifier(network, config.pixels.preprocessing, config.input_size),
            accelerator.device,
            config.precision,
        )
        rank = rank_of_labels(engine, split, mine, network.classifier.out_features, crops)
        misses = torch.tensor([int((rank >= top).sum()) for top in (1, 5)])
        top1, top5 = accelerator.reduce(misses.to(accelerator.device), "sum").tolist()
        errors.append((top1 / len(split), top5 / len(split)))
    (raw1, raw5), (averaged1, averaged5) = errors
    return Validation(
        top1_error_raw=raw1,
        top5_error_raw=raw5,
        top1_error_averaged=averaged1,
        top5_error_averaged=averaged5,
    )
