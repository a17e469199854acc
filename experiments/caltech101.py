"""Table 3 in miniature: GoogLeNets of half the width on Caltech-101's photographs at
112 px, on a CPU.

Run:     going-deeper run caltech101 --data FOLDER
Expect:  with --precision bf16 --epochs 24 a top-5 error, on average over seven members,
         of 31.7 % with 1 crop and 29.7 % with 144; of all seven together 27.8 and 27.2
         %. 70 epochs were not run with these constants
Cost:    about one core-hour a member in fp32; with bf16 and 24 epochs, on an Intel Xeon
         with AMX, a third of one, and 5 core-minutes for 144 crops of all validation
         images
Differs: 112 px, half the channels (also of the seventh member), 101 classes, 6,960
         training images; cosine schedule, Kaiming initialisation, clipping, patches of
         at least 35 % of an image, no photometric distortions, classes sampled more
         evenly than they come (the validation images are balanced, the training images
         are not)

With --seeds 3 the report also answers aux_heads.py --arms both,none, and crop_counts.py
with a seed for each member. With --members 7 --independent 3 it also answers
ensemble_size.py. All share their trainings.
"""

from typing import Annotated

from pipeline.configs import (
    CheckConfig,
    CompareConfig,
    Count,
    Members,
    Study,
    TrainConfig,
    comparison,
    table3,
)
from pipeline.configs.arms import aux_heads
from pipeline.configs.miniature import (
    Independent,
    miniature_arms,
    miniature_members,
    of_miniature,
    same_or_independent,
)
from pipeline.configs.recipes import crop_counts

Asked = Annotated[Count, "Trainings of each arm of the questions below; 0 asks none."]


@of_miniature
def experiment(
    base: TrainConfig, members: Members = 1, seeds: Asked = 0, independent: Independent = 0
) -> Study:
    predictions = miniature_members(base, members)
    comparisons: tuple[CompareConfig, ...] = ()
    if seeds:
        arms = aux_heads(base)
        heads = miniature_arms({name: arms[name] for name in ("both", "none")}, seeds)
        comparisons = (
            comparison("Do the auxiliary heads help?", heads),
            *crop_counts(miniature_members(base, max(members, seeds))),
        )
    if independent:
        comparisons += same_or_independent(base, independent)
    return Study(
        name=base.data.name,
        title=(
            f"{base.data.name} at 112 px: {members} GoogLeNet{'s' if members > 1 else ''} of width"
            f" {base.shape.width if base.shape else 1:g}"
        ),
        check=CheckConfig(results=table3(predictions, predictions[0].policies)),
        comparisons=comparisons,
    )
