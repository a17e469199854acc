"""Validation during a training, by the raw and by the averaged weights."""

import torch

from pipeline.artefacts.contents import Validation
from pipeline.artefacts.dataset import Split
from pipeline.configs.crops import CropsConfig
from pipeline.models.classify import rank_of_labels
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.runtime import environment
from pipeline.training.learner import Learner


def validate(learner: Learner, split: Split) -> Validation:
    """Return the errors of the raw and of the averaged weights, at one crop.

    Each rank opens every n-th image, n being the world size, once for both networks;
    all counts of misses are summed at once.
    """
    config, accelerator = learner.config, learner.accelerator
    mine = range(accelerator.process_index, len(split), accelerator.num_processes)
    # the recipe's own crops
    crops = CropsConfig(aspect="warped" if config.sampling == "warped" else "kept")
    networks = (learner.network, learner.average.module)
    engines = [
        Engine(
            Classifier(network, config.pixels.preprocessing, config.input_size),
            accelerator.device,
            config.precision,
        )
        for network in networks
    ]
    ranks_EN = rank_of_labels(
        engines,
        split,
        mine,
        learner.num_classes,
        crops,
        environment.num_loaders(accelerator.device.type),
    )
    misses = torch.tensor([[int((rank >= top).sum()) for top in (1, 5)] for rank in ranks_EN])
    counts = accelerator.reduce(misses.to(accelerator.device), "sum").tolist()
    (raw1, raw5), (averaged1, averaged5) = [[n / len(split) for n in row] for row in counts]
    return Validation(
        top1_error_raw=raw1,
        top5_error_raw=raw5,
        top1_error_averaged=averaged1,
        top5_error_averaged=averaged5,
    )
