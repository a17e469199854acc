"""Local response normalisation (the paper's), none, and batch normalisation, in miniature.

Run:     going-deeper run experiments/normalisation.py --data ../shared/data/caltech101
Expect:  nothing is known at this scale
Cost:    half a core-hour a training at 70 epochs
Differs: as experiments/caltech101.py, of which the first arm's trainings are the same artefacts
"""

from pathlib import Path

from pipeline.recipes import miniature, miniature_members
from pipeline.study import PrepareConfig, Study, ablation


def experiment(data: Path | None = None, seeds: int = 3, epochs: float = 70) -> Study:
    images = PrepareConfig(source="imagefolder", name="caltech101", path=data)
    base = miniature(images, epochs)
    trainings = {
        "local response": base,
        "none": base.but(network=base.network.but(norm="none")),
        "batch": base.but(network=base.network.but(norm="batch")),
    }
    return ablation("normalisation", "Which is best?", {arm: miniature_members(run, seeds) for arm, run in trainings.items()})
