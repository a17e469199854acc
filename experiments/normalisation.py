"""Local response normalisation (the paper's), none, and batch normalisation, in
miniature.

Run:     going-deeper run normalisation --data FOLDER
Expect:  nothing is known at this scale
Cost:    about one core-hour a training at 70 epochs
Differs: as experiments/caltech101.py, of which the first arm's trainings are the same
    artefacts
"""

from pipeline.configs.arms import normalisations
from pipeline.configs.miniature import miniature_ablation

experiment = miniature_ablation(
    "normalisation",
    "Which is best?",
    normalisations,
)
