"""What augmentation is worth: the paper's patches, Caffe's fixed window, photometric distortions, in miniature.

Run:     going-deeper run experiments/augmentation.py --data ../shared/data/caltech101
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
        "patches": base,
        "patches and distortions": base.but(photometric=True),
        "window of Caffe": base.but(sampling="caffe"),
    }
    return ablation("augmentation", "What is it worth?", miniature_arms(trainings, seeds))
