"""How weights begin, on which the paper is silent: Kaiming's, Caffe's, a Gaussian, in miniature.

Run:     going-deeper run experiments/init.py --data ../shared/data/caltech101
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
        "kaiming": base,
        "caffe": base.but(init="caffe"),
        "gaussian": base.but(init="gaussian"),
    }
    return ablation("init", "Which is best?", {arm: miniature_members(run, seeds) for arm, run in trainings.items()})
