"""Which pixels and which initial weights belong together: the start of the paper's
recipe with each pairing, on Tiny ImageNet at 56 px.

Run:     going-deeper run pixels --data FOLDER_OF_TINY_IMAGENET
Expect:  main loss after 1,562 steps, with one seed: 5.035 (deviation, Kaiming), 5.300
         (deviation, Caffe), 5.293 (Caffe's pixels, Caffe); chance is 5.298. With 1.2
         epochs the last begins to learn after some 1,700 steps
Cost:    about a tenth of a core-hour a training of half an epoch in bf16
Differs: 200 classes at 56 px, half the width, half an epoch, no photometric
    distortions; rate, batch and weight decay are those of the full recipe, from the
    first step on
"""

from pipeline.configs import (
    CheckConfig,
    Data,
    DataName,
    Epochs,
    EvaluateConfig,
    NetworkConfig,
    PixelConfig,
    Precision,
    PrepareConfig,
    Seeds,
    Study,
    comparison,
    name_of,
    table3,
)
from pipeline.configs.recipes import CAFFE_PIXELS, paper


def experiment(
    data: Data = None,
    name: DataName = None,
    seeds: Seeds = 1,
    epochs: Epochs = 0.5,
    precision: Precision = "bf16",
) -> Study:
    images = PrepareConfig(
        source="datasets", name=name_of(data, name, "tiny-imagenet-32"), path=data
    )
    base = paper(images, epochs, NetworkConfig(input_size=56, width=0.5)).but(
        photometric=False, precision=precision, pixels=PixelConfig()
    )
    pairings = {
        "deviation, Kaiming": base.but(init="kaiming"),
        "deviation, Caffe": base.but(init="caffe"),
        "Caffe's pixels, Caffe": base.but(init="caffe", pixels=CAFFE_PIXELS),
    }
    members = {
        name: tuple(
            EvaluateConfig(
                data=images,
                classifier=run.but(init_seed=seed, data_seed=seed),
                weights="raw",
                policies=("crops_1",),
                precision=precision,
            )
            for seed in range(seeds)
        )
        for name, run in pairings.items()
    }
    question = "Which pixels and which initial weights belong together?"
    baseline = next(iter(members.values()))
    return Study(
        name="pixels",
        title=f"{question} {'; '.join(members)}",
        check=CheckConfig(results=table3(baseline, ("crops_1",))),
        comparisons=(comparison(question, members, "crops_1"),),
    )
