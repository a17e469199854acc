"""Do the auxiliary heads help? Both, none, the lower (4a) or the upper (4d), in
miniature.

Run:     going-deeper run aux_heads --data FOLDER
Expect:  nothing is known: the paper gives no number for its heads
Cost:    about one core-hour a training at 70 epochs; arms x seeds of them
Differs: as experiments/caltech101.py, of which the first arm's trainings are the same
    artefacts
"""

from pipeline.configs.arms import aux_heads
from pipeline.configs.miniature import miniature_ablation

experiment = miniature_ablation("aux_heads", "Do the auxiliary heads help?", aux_heads)
