"""Do the auxiliary heads help? None, the lower, the upper or both of them, under several seeds, in miniature.

Run:     going-deeper run experiments/aux_heads.py --data ../shared/data/caltech101
Expect:  nothing is known: the paper gives no number for its heads
Cost:    twelve trainings of half a core-hour each at 70 epochs
Differs: as experiments/caltech101.py, whose members with both heads are the same artefacts
"""

from pathlib import Path

from pipeline.recipes import miniature
from pipeline.study import Arm, CheckConfig, CompareConfig, EvaluateConfig, InputError, PrepareConfig, Study, table3

HEADS: dict[str, tuple[str, ...]] = {"both": ("4a", "4d"), "none": (), "4a": ("4a",), "4d": ("4d",)}


def experiment(data: Path | None = None, seeds: int = 3, epochs: float = 70, arms: str = "both,none,4a,4d") -> Study:
    images = PrepareConfig(source="imagefolder", name="caltech101", path=data)
    base = miniature(images, epochs)
    made = []
    for name in arms.split(","):
        if name not in HEADS:
            raise InputError(f"--arms {arms}: {name!r} is none of {', '.join(HEADS)}")
        network = base.network.but(aux_heads=HEADS[name])
        runs = [base.but(network=network, data_seed=seed) for seed in range(seeds)]
        made.append(
            Arm(name=name, members=tuple(EvaluateConfig(data=images, classifier=run, precision="bf16") for run in runs))
        )
    return Study(
        name="aux_heads",
        title=f"Auxiliary heads: {arms}, {seeds} seeds",
        check=CheckConfig(results=table3(made[0].members)),
        comparisons=(CompareConfig(question="Do the auxiliary heads help?", arms=tuple(made), policy="crops_10"),),
    )
