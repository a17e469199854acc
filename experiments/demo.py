"""The whole chain in minutes on a laptop: two small GoogLeNets on scikit-learn's
handwritten digits.

Run:     going-deeper run demo   (or: make demo)
Expect:  top-1 error of a member near 11 % with 1 crop, 7 % with 10 and 3 % with 144
Cost:    two to four minutes on two cores
Differs: 56 px, a quarter of the channels, 10 classes, 1,438 training images; cosine
    schedule and Kaiming initialisation
"""

from pipeline.configs import (
    CheckConfig,
    Epochs,
    EvaluateConfig,
    Members,
    NetworkConfig,
    PrepareConfig,
    Study,
    TrainConfig,
    table3,
)


def experiment(members: Members = 2, epochs: Epochs = 80) -> Study:
    data = PrepareConfig(source="digits", name="digits")
    base = TrainConfig(
        data=data,
        network=NetworkConfig(input_size=56, width=0.25),  # ours: minutes, not days
        num_epochs=epochs,
        global_batch_size=64,
        learning_rate=0.04,  # ours
        schedule="cosine",  # ours: a short training must end at a small rate
        warmup_epochs=1,
        averaging_decay=0.99,  # ours: the run has 1,800 steps
        clip_norm=5.0,
        min_area=0.5,  # ours: a small piece of a digit says little
        precision="bf16",
        validate_every_epochs=10,
    )
    runs = [base.but(data_seed=seed) for seed in range(members)]
    predictions = tuple(EvaluateConfig(data=data, classifier=run, precision="bf16") for run in runs)
    return Study(
        name="demo",
        title=f"Demo: {members} small GoogLeNets on handwritten digits",
        check=CheckConfig(results=table3(predictions)),
    )
