"""A small GoogLeNet on the embedded digits, or on images of your own.

Run:     going-deeper run experiment.py
         going-deeper run experiment.py --data FOLDER   (train/<class>/, val/<class>/)
Expect:  on the digits a top-1 error near 53 % after 30 epochs, where guessing has 90 %;
         80 epochs make it small, as in the demo
Cost:    two minutes on two cores
Differs: 56 px, a quarter of the channels; cosine schedule
"""

from pipeline.configs import (
    CheckConfig,
    Data,
    DataName,
    Epochs,
    EvaluateConfig,
    Members,
    NetworkConfig,
    PrepareConfig,
    Study,
    TrainConfig,
    name_of,
    table3,
)


# Each parameter is an option: going-deeper run experiment.py --epochs 80
def experiment(
    data: Data = None, name: DataName = None, members: Members = 1, epochs: Epochs = 30
) -> Study:
    if data is None:
        images = PrepareConfig(source="digits", name="digits")
    else:
        images = PrepareConfig(source="imagefolder", name=name_of(data, name, "mine"), path=data)
    base = TrainConfig(
        data=images,
        network=NetworkConfig(input_size=56, width=0.25),  # the paper's: 224 and 1
        num_epochs=epochs,
        global_batch_size=64,
        learning_rate=0.04,  # going-deeper find-rate experiment.py helps to choose it
        schedule="cosine",
        warmup_epochs=1,
        averaging_decay=0.98,
        clip_norm=5.0,
        min_area=0.5,
        validate_every_epochs=5,
    )
    # members differ in the order of images and in their patches
    runs = [base.but(data_seed=seed) for seed in range(members)]
    predictions = tuple(
        # the paper's third number of crops, crops_144, takes ten times as long
        EvaluateConfig(data=images, classifier=run, policies=("crops_1", "crops_10"))
        for run in runs
    )
    return Study(
        name=images.name,
        title=f"{members} small GoogLeNet{'s' if members > 1 else ''} on {images.name}",
        check=CheckConfig(results=table3(predictions, predictions[0].policies)),
    )
