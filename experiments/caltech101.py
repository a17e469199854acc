"""Table 3 in miniature: GoogLeNets of half the width on Caltech-101's photographs at 112 px, on a CPU.

Run:     going-deeper run experiments/caltech101.py --data ../shared/data/caltech101
Expect:  top-5 error of a member near 21 % with 1 crop and 18 % with 144
Cost:    about one core-hour a member: half an hour on two cores
Differs: 112 px, half the channels, 101 classes, 6,960 training images; cosine schedule, Kaiming initialisation, clipping,
         classes sampled more evenly than they come (the validation images are balanced, the training images are not)
"""

from pathlib import Path

from pipeline.recipes import miniature, miniature_members
from pipeline.study import CheckConfig, Study, table3


def experiment(data: Path | None = None, members: int = 1, epochs: float = 70) -> Study:
    base = miniature(data, epochs)
    predictions = miniature_members(base, members)
    return Study(
        name="caltech101",
        title=f"Caltech-101 at 112 px: {members} GoogLeNet{'s' if members > 1 else ''} of half the width",
        check=CheckConfig(results=table3(predictions, predictions[0].policies)),
    )
