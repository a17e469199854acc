"""Averaged weights: an exponential average, none (raw), and Polyak's equal weights over the last half, in miniature.

Run:     going-deeper run experiments/averaging.py --data ../shared/data/caltech101
Expect:  nothing is known at this scale
Cost:    about one core-hour a training at 70 epochs; raw weights cost none
Differs: as experiments/caltech101.py, of which the first arm's trainings are the same artefacts
"""

from pathlib import Path

from pipeline.recipes import miniature, miniature_members
from pipeline.study import Study, ablation


def experiment(data: Path | None = None, seeds: int = 3, epochs: float = 70) -> Study:
    base = miniature(data, epochs)
    averaged = miniature_members(base, seeds)
    equal = base.but(averaging="equal", averaging_start_epoch=epochs / 2)
    arms = {
        "exponential": averaged,
        "raw": tuple(member.but(weights="raw") for member in averaged),
        "equal": miniature_members(equal, seeds),
    }
    return ablation("averaging", "Does averaging help?", arms)
