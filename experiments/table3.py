"""The paper's Table 3 at full scale: seven GoogLeNets on ILSVRC-2012, 1, 10 and 144
crops, alone and together.

Run:     going-deeper run table3 --data FOLDER_OF_THE_ARCHIVES --site
         gpu
Expect:  the paper: 10.07 % top-5 error of one model with 1 crop, 6.67 % of seven with
         144. Never run here
Cost:    `going-deeper plan` on this file says it, in core-hours or GPU-hours, once
         `benchmark scaling` has run under the same root on such a device
Differs: what the paper leaves open is `ours`, marked so in pipeline/configs/recipes.py
    and pipeline/configs/train.py; --recipe large_batch is for 8 to 64 GPUs

The paper's recipe has 32 images a step, of which 8 GPUs would see four each. With
--recipe large_batch --batch 2048 a step has as many as the GPUs can use.
"""

from typing import Annotated, Literal

from pipeline.configs import (
    CheckConfig,
    Data,
    DataName,
    EvaluateConfig,
    InputError,
    Members,
    Precision,
    PrepareConfig,
    Study,
    table3,
)
from pipeline.configs.recipes import large_batch, paper, seven_members
from pipeline.configs.train import MOST_IMAGES

Batch = Annotated[
    int | None, range(1, MOST_IMAGES + 1), "Images a step of large_batch.  [default: 1024]"
]


def experiment(
    data: Data = None,
    name: DataName = None,
    members: Members = 7,
    recipe: Annotated[Literal["paper", "large_batch"], "The paper's, or for many GPUs."] = "paper",
    batch: Batch = None,
    epochs: Annotated[float | None, "Length of a training.  [default: 250, or 90]"] = None,
    precision: Annotated[Precision | None, "[default: fp32, or bf16]"] = None,
) -> Study:
    images = PrepareConfig(source="ilsvrc2012", name=name or "ilsvrc2012", path=data)
    if recipe == "paper" and batch is not None:
        raise InputError(f"--batch {batch}: is of --recipe large_batch; the paper's recipe has 32")
    base = (
        paper(images, epochs or 250)
        if recipe == "paper"
        else large_batch(images, epochs or 90, batch or 1024)
    )
    by = "" if recipe == "paper" else f" by large_batch, {base.global_batch_size} images a step"
    base = base.but(precision=precision or base.precision)
    predictions = tuple(
        EvaluateConfig(data=images, classifier=run, precision=base.precision)
        for run in seven_members(base, members)
    )
    return Study(
        name="table3",
        title=f"Table 3 on ILSVRC-2012: {members} GoogLeNet{'s' if members > 1 else ''}{by}",
        check=CheckConfig(results=table3(predictions)),
    )
