"""How weights begin, on which the paper is silent: Kaiming's, Caffe's, a Gaussian, in
miniature.

Run:     going-deeper run init --data FOLDER
Expect:  nothing is known at this scale
Cost:    about one core-hour a training at 70 epochs
Differs: as experiments/caltech101.py, but each seed draws initial weights of its own,
    as ensemble_size.py's independent members. All see pixels divided by their
    deviation; experiments/pixels.py gives Caffe's weights the pixels they are made for
"""

from pipeline.configs.arms import initialisations
from pipeline.configs.miniature import miniature_ablation

experiment = miniature_ablation(
    "init",
    "Which is best?",
    initialisations,
    independent=True,
)
