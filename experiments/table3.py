"""The paper's Table 3 at full scale: seven GoogLeNets on ILSVRC-2012, 1, 10 and 144
crops, alone and together.

Run:     going-deeper run table3 --data FOLDER_OF_THE_ARCHIVES --site
         gpu
Expect:  the paper: 10.07 % top-5 error of one model with 1 crop, 6.67 % of seven with
         144. Never run here
Cost:    `going-deeper plan` on this file says it: in core-hours once `benchmark train`
         and `benchmark evaluate` have run under the same root, in GPU-hours once a
         member has run on the site; of the wider seventh only when that has
Differs: what the paper leaves open is `ours`, marked so in pipeline/configs/recipes.py
    and pipeline/configs/train.py
"""

from pathlib import Path

from pipeline.configs import CheckConfig, Count, EvaluateConfig, PrepareConfig, Study, table3
from pipeline.configs.recipes import paper, seven_members


def experiment(
    data: Path | None = None, name: str = "ilsvrc2012", members: Count = 7, epochs: float = 250
) -> Study:
    images = PrepareConfig(source="ilsvrc2012", name=name, path=data)
    runs = seven_members(paper(images, epochs), members)
    predictions = tuple(EvaluateConfig(data=images, classifier=run) for run in runs)
    return Study(
        name="table3",
        title=f"Table 3 on ILSVRC-2012: {members} GoogLeNet{'s' if members > 1 else ''}",
        check=CheckConfig(results=table3(predictions)),
    )
