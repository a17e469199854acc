"""How weights begin, on which the paper is silent: Kaiming's, Caffe's, a Gaussian, in miniature.

Run:     going-deeper run experiments/init.py --data ../shared/data/caltech101
Expect:  nothing is known at this scale
Cost:    about one core-hour a training at 70 epochs
Differs: as experiments/caltech101.py, but each seed draws initial weights of its own, as ensemble_size.py's independent members
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
        "kaiming": base,
        "caffe": base.but(init="caffe"),
        "gaussian": base.but(init="gaussian"),
    }
    return ablation("init", "Which is best?", miniature_arms(trainings, seeds, independent=True))
