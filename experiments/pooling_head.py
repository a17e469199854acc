"""Average pooling before the classifier, against a fully connected layer (paper,
section 5), in miniature.

Run:     going-deeper run pooling_head --data FOLDER
Expect:  the paper: pooling gains about 0.6 points of top-1 error
Cost:    about one core-hour a training at 70 epochs
Differs: as experiments/caltech101.py, of which the first arm's trainings are the same
    artefacts
"""

from pipeline.configs.arms import pooling_heads
from pipeline.configs.miniature import miniature_ablation

experiment = miniature_ablation(
    "pooling_head",
    "Is pooling better?",
    pooling_heads,
)
