"""Averaged weights: an exponential average, none (raw), and Polyak's equal weights over the last half, in miniature.

Run:     going-deeper run experiments/averaging.py --data ../shared/data/caltech101
Expect:  nothing is known at this scale
Cost:    about one core-hour a training at 70 epochs; raw weights take none
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
    equal = base.but(averaging="equal", averaging_start_epoch=epochs / 2)
    arms = miniature_arms({"exponential": base, "raw": base, "equal": equal}, seeds)
    arms["raw"] = tuple(member.but(weights="raw") for member in arms["raw"])
    return ablation("averaging", "Does averaging help?", arms)
