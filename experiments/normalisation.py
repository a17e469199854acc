"""Local response normalisation (the paper's), none, and batch normalisation, in miniature.

Run:     going-deeper run experiments/normalisation.py --data ../shared/data/caltech101
Expect:  nothing is known at this scale
Cost:    about one core-hour a training at 70 epochs
Differs: as experiments/caltech101.py, of which the first arm's trainings are the same artefacts
"""

from pathlib import Path

from pipeline.configs import Precision, Study, ablation
from pipeline.configs.recipes import miniature, miniature_arms


def experiment(
    data: Path | None = None,
    seeds: int = 3,
    epochs: float = 70,
    width: float = 0.5,
    precision: Precision = "fp32",
) -> Study:
    base = miniature(data, epochs, width, precision)
    trainings = {
        "local response": base,
        "none": base.but(network=base.network.but(norm="none")),
        "batch": base.but(network=base.network.but(norm="batch")),
    }
    return ablation("normalisation", "Which is best?", miniature_arms(trainings, seeds))
