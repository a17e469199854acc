"""The whole chain in minutes on a laptop: two small GoogLeNets on scikit-learn's handwritten digits.

Run:     going-deeper run experiments/demo.py   (or: make demo)
Expect:  top-1 error of a few per cent; the directional claims decided or called inconclusive
Cost:    about 0.1 core-hours
Differs: 56 px, a quarter of the channels, 10 classes, 1,438 training images; cosine schedule and Kaiming initialisation
"""

from pipeline.study import CheckConfig, EvaluateConfig, NetworkConfig, PrepareConfig, Study, TrainConfig, table3


def experiment(members: int = 2, epochs: float = 30) -> Study:
    data = PrepareConfig(source="digits", name="digits")
    base = TrainConfig(
        data=data,
        network=NetworkConfig(input_size=56, width=0.25),  # ours: minutes, not days
        num_epochs=epochs,
        learning_rate=0.03,  # ours
        schedule="cosine",  # ours: a short training must end at a small rate
        warmup_epochs=1,
        averaging_decay=0.99,  # ours: the run has 1,300 steps
        clip_norm=5.0,
        precision="bf16",
        validate_every_epochs=5,
    )
    runs = [base.model_copy(update={"data_seed": seed}) for seed in range(members)]
    predictions = tuple(EvaluateConfig(data=data, run=run, precision="bf16") for run in runs)
    return Study(
        name="demo",
        title=f"Demo: {members} small GoogLeNets on handwritten digits",
        check=CheckConfig(results=table3(predictions)),
    )
