"""What augmentation is worth: the paper's patches, Caffe's fixed window, photometric
distortions, in miniature.

Run:     going-deeper run augmentation --data FOLDER
Expect:  nothing is known at this scale
Cost:    about one core-hour a training at 70 epochs
Differs: as experiments/caltech101.py, of which the first arm's trainings are the same
    artefacts
"""

from pipeline.configs.arms import augmentations
from pipeline.configs.miniature import miniature_ablation

experiment = miniature_ablation(
    "augmentation",
    "What is it worth?",
    augmentations,
)
