"""How many models are enough, and must they differ in their initial weights? In
miniature.

Run:     going-deeper run ensemble_size --data FOLDER
Expect:  nothing is known: the paper's members share their initial weights, "due to an
         oversight" (section 7)
Cost:    members + independent trainings of experiments/caltech101.py
Differs: as experiments/caltech101.py, of which the members are the same artefacts
"""

from pipeline.configs import CheckConfig, Members, Study, TrainConfig, table3
from pipeline.configs.miniature import (
    Independent,
    miniature_members,
    of_miniature,
    same_or_independent,
)


@of_miniature
def experiment(base: TrainConfig, members: Members = 7, independent: Independent = 3) -> Study:
    predictions = miniature_members(base, members)
    return Study(
        name="ensemble_size",
        title=(
            f"How many models are enough? All ensembles of {members}, and {independent} with"
            " initial weights of their own"
        ),
        check=CheckConfig(results=table3(predictions, predictions[0].policies)),
        comparisons=same_or_independent(base, independent),
    )
