"""Do the auxiliary heads help? Both, none, the lower (4a) or the upper (4d), in miniature.

Run:     going-deeper run experiments/aux_heads.py --data ../shared/data/caltech101
Expect:  nothing is known: the paper gives no number for its heads
Cost:    about one core-hour a training at 70 epochs; arms x seeds of them
Differs: as experiments/caltech101.py, of which the first arm's trainings are the same artefacts
"""

from pathlib import Path

from pipeline.configs import InputError, Precision, Study, ablation
from pipeline.configs.recipes import aux_heads, miniature, miniature_arms


def experiment(
    data: Path | None = None,
    seeds: int = 3,
    epochs: float = 70,
    width: float = 0.5,
    precision: Precision = "fp32",
    arms: str = "both,none,4a,4d",
) -> Study:
    trainings = aux_heads(miniature(data, epochs, width, precision))
    names = list(dict.fromkeys(arms.split(",")))
    if unknown := [name for name in names if name not in trainings]:
        raise InputError(f"--arms {arms}: {unknown[0]!r} is none of {', '.join(trainings)}")
    if len(names) < 2:
        raise InputError(f"--arms {arms}: expected at least two, of which the first is the baseline")
    chosen = {name: trainings[name] for name in names}
    return ablation("aux_heads", "Do the auxiliary heads help?", miniature_arms(chosen, seeds))
