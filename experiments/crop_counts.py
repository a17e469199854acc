"""How many crops are enough? 1, 2, 10, 36, 72, 108 and 144, averaged, and the largest
of 144, in miniature.

Run:     going-deeper run crop_counts --data FOLDER
Expect:  fewer errors with more crops, and less and less gained (paper, section 7)
Cost:    the trainings of experiments/caltech101.py's first members, no more
Differs: as experiments/caltech101.py, whose members and predictions these are
"""

from pipeline.configs import CheckConfig, Seeds, Study, TrainConfig, table3
from pipeline.configs.miniature import miniature_members, of_miniature
from pipeline.configs.recipes import crop_counts


@of_miniature
def experiment(base: TrainConfig, seeds: Seeds = 3) -> Study:
    members = miniature_members(base, seeds)
    return Study(
        name="crop_counts",
        title=f"How many crops are enough? {seeds} seed{'s' if seeds > 1 else ''}",
        check=CheckConfig(results=table3(members, members[0].policies)),
        comparisons=crop_counts(members),
    )
