"""Caffe's quick recipe at full scale: one GoogLeNet on ILSVRC-2012, as BVLC trained and
evaluated its bvlc_googlenet.

Run:     going-deeper run caffe_quick --data FOLDER_OF_THE_ARCHIVES
         --site gpu
Expect:  BVLC: 31.3 % top-1 and 11.1 % top-5 error at the centre crop (claim R8).
         Never run here
Cost:    2.4 M steps of 32 images, 60 epochs; `going-deeper plan` on this file says it,
         as of experiments/table3.py
Differs: what BVLC's files do not say is `ours`: the kernel of the warp to 256 x 256,
    and a new order in every epoch; see caffe_quick in pipeline/configs/recipes.py
"""

from pipeline.configs import (
    CheckConfig,
    CropsConfig,
    Data,
    DataName,
    Epochs,
    EvaluateConfig,
    PrepareConfig,
    PublishedRecipe,
    Study,
    table3,
)
from pipeline.configs.recipes import QUICK_EPOCHS, caffe_quick


def experiment(
    data: Data = None, name: DataName = "ilsvrc2012", epochs: Epochs = QUICK_EPOCHS
) -> Study:
    images = PrepareConfig(source="ilsvrc2012", name=name, path=data)
    member = EvaluateConfig(
        data=images,
        classifier=caffe_quick(images, epochs),
        weights="raw",
        policies=("crops_1", "crops_10"),
        crops=CropsConfig(aspect="warped"),
    )
    return Study(
        name="caffe_quick",
        title="Caffe's quick recipe on ILSVRC-2012",
        check=CheckConfig(
            results=table3((member,), member.policies), neighbour=PublishedRecipe(recipe_of="R8")
        ),
    )
