"""ImageNet in miniature: Table 3, the claims of order and all ablations on Tiny
ImageNet's 200 classes, at 56 px.

Run:     going-deeper run tiny_imagenet --data FOLDER
Expect:  nothing is known at this scale: the paper's claims of order are asked
Cost:    about half a core-hour a training in bf16 with AVX-512; 49 trainings
Differs: photographs of 32 x 32 px, enlarged to shorter sides of 64 to 88; 56 px, half
    the channels (also of the seventh member), 200 classes, 100,000 training images;
    cosine schedule, Kaiming initialisation, clipping, patches of at least 35 % of an
    image, no photometric distortions, bf16

FOLDER has Tiny ImageNet as parquet files or as datasets saves it. All questions share
their trainings: --questions none leaves them out, --questions heads,norm asks some.

Fixed before the runs, for 10,000 validation images and two-sided tests at 5 %: the
difference (points) that Student's paired test over seeds finds in four of five studies,
by the standard deviation of a pair's difference. That of Caltech-101's members is 1.0
point apiece with 1,212 images, most of it from these few; 10,000 leave some 0.5, and
0.7 of a pair.

    seeds   SD 0.5   SD 0.7   SD 1.0
    3       1.6      2.3      3.3
    5       0.8      1.2      1.7
"""

from typing import Annotated

from pipeline.configs import (
    CheckConfig,
    CompareConfig,
    Data,
    Epochs,
    InputError,
    Members,
    NetworkConfig,
    Precision,
    PrepareConfig,
    Seeds,
    Study,
    TrainConfig,
    arms,
    comparison,
    table3,
)
from pipeline.configs.miniature import miniature_arms, miniature_members, same_or_independent
from pipeline.configs.recipes import crop_counts

HeadsSeeds = Annotated[
    int, range(2, 101), "Trainings of each arm of the question on auxiliary heads."
]
QUESTIONS = {
    "heads": "Do the auxiliary heads help?",
    "crops": "How many crops are enough, and how are they pooled?",
    "size": "How many models are enough, and must their initial weights differ?",
    "pooling": "Is average pooling better than a connected layer?",
    "norm": "Which normalisation is best?",
    "augmentation": "What is augmentation worth?",
    "averaging": "Does averaging the weights help?",
    "init": "How should weights begin?",
}
ARMS = {
    "heads": arms.aux_heads,
    "pooling": arms.pooling_heads,
    "norm": arms.normalisations,
    "augmentation": arms.augmentations,
    "averaging": arms.averages,
    "init": arms.initialisations,
}


def training(data: Data, epochs: float, precision: Precision) -> TrainConfig:
    """Return the training of a member; all constants are ours."""
    images = PrepareConfig(source="datasets", name="tiny-imagenet", path=data)
    return TrainConfig(
        data=images,
        network=NetworkConfig(input_size=56, width=0.5),
        num_epochs=epochs,
        global_batch_size=64,
        learning_rate=0.03,
        schedule="cosine",
        warmup_epochs=0.5,
        averaging_decay=0.998,
        clip_norm=5.0,
        min_area=0.35,
        precision=precision,
        validate_every_epochs=1,
    )


def experiment(
    data: Data = None,
    members: Members = 7,
    seeds: Seeds = 3,
    heads_seeds: HeadsSeeds = 5,
    questions: Annotated[str, "all, none, or some of heads, crops, size ..."] = "all",
    epochs: Epochs = 12,
    precision: Precision = "bf16",
) -> Study:
    base = training(data, epochs, precision)
    predictions = miniature_members(base, members)
    asked = {"all": tuple(QUESTIONS), "none": ()}.get(questions, tuple(questions.split(",")))
    if unknown := [name for name in asked if name not in QUESTIONS]:
        raise InputError(
            f"--questions {questions}: {unknown[0]!r} is none of {', '.join(QUESTIONS)}, all, none"
        )
    comparisons: tuple[CompareConfig, ...] = ()
    for name in asked:
        if name == "crops":
            comparisons += crop_counts(miniature_members(base, max(members, seeds)))
        elif name == "size":
            comparisons += same_or_independent(base, seeds)
        else:
            number = heads_seeds if name == "heads" else seeds
            of_arms = miniature_arms(ARMS[name](base), number, independent=name == "init")
            if name == "averaging":
                raw = tuple(member.but(weights="raw") for member in of_arms["raw"])
                of_arms = {**of_arms, "raw": raw}
            comparisons += (comparison(QUESTIONS[name], of_arms),)
    return Study(
        name="tiny-imagenet",
        title=f"Tiny ImageNet at 56 px: {members} GoogLeNets of half the width",
        check=CheckConfig(
            # ImageNet's terms: its images are not published
            results=table3(predictions, predictions[0].policies, pictures=False)
        ),
        comparisons=comparisons,
    )
