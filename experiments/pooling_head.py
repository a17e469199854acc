"""Average pooling before the classifier, against a fully connected layer (paper, section 5), in miniature.

Run:     going-deeper run experiments/pooling_head.py --data ../shared/data/caltech101
Expect:  the paper: pooling gains about 0.6 points of top-1 error
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
        "average pooling": base,
        "fully connected": base.but(network=base.network.but(head="fully_connected")),
    }
    return ablation("pooling_head", "Is pooling better?", miniature_arms(trainings, seeds))
