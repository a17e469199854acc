"""Averaged weights: an exponential average, none (raw), and Polyak's equal weights over
the last half, in miniature.

Run:     going-deeper run averaging --data FOLDER
Expect:  nothing is known at this scale
Cost:    about one core-hour a training at 70 epochs; raw weights take none
Differs: as experiments/caltech101.py, of which the first arm's trainings are the same
    artefacts
"""

from pipeline.configs.arms import averages
from pipeline.configs.miniature import miniature_ablation

experiment = miniature_ablation(
    "averaging",
    "Does averaging help?",
    averages,
    raw=["raw"],
)
