"""Networks with their weights, from files and from trainings of ours."""

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from pipeline.artefacts import sealing
from pipeline.artefacts.run import Run
from pipeline.configs.network import NetworkConfig
from pipeline.configs.train import TrainConfig
from pipeline.configs.wrong_fields import one_line
from pipeline.errors import InputError
from pipeline.models.loading import Classifier, load_strictly, our_classifier, without_heads
from pipeline.models.weights import note_in, read_weights, under_names
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.preprocessing import CAFFE_PREPROCESSING


def load(weights: str | Path) -> Classifier:
    """Return a GoogLeNet with the weights of a file, in evaluation mode.

    Args:
        weights: a .safetensors of `going-deeper export`, whose note tells the network
            and how pixels enter, or BVLC's bvlc_googlenet.caffemodel.

    Raises:
        InputError: there is no such file, or it is of another network.
    """
    path = Path(weights)
    tensors, note = read_weights(path), note_in(path)
    if note is None and path.suffix != ".caffemodel":
        raise InputError(
            f"{path}: has no note on its network; expected a file of going-deeper export, or a"
            " .caffemodel. Evaluate other networks as functions: evaluate(network, ...)"
        )
    shape = (note.network if note else NetworkConfig()).but(aux_heads=())
    rows = tensors.get("classifier.weight")
    network = GoogLeNet(1000 if rows is None else len(rows), **shape.model_dump())
    tensors, _ = under_names(network.state_dict().keys(), tensors, path)
    load_strictly(network, without_heads(tensors), path)
    preprocessing = note.pixels.preprocessing if note else CAFFE_PREPROCESSING
    return Classifier(network.eval(), preprocessing, shape.input_size)


def load_run(
    folder: str | Path, weights: Literal["averaged", "raw", "best"] = "averaged"
) -> Classifier:
    """Return the network of a finished training, in evaluation mode.

    Args:
        folder: of the training, such as outputs/runs/<hash>; its data set lies under
            the same root.
        weights: `best` are the averaged ones at the lowest validation error.

    Raises:
        InputError: there is no finished training, or a file of it is damaged.
    """
    path = Path(folder) / TrainConfig.last_file
    if not path.is_file():
        raise InputError(f"{path}: does not exist; expected a folder such as outputs/runs/<hash>")
    try:
        config = TrainConfig.model_validate(sealing.RUN.load(path).config)
    except ValidationError as error:
        raise InputError(
            f"{path}: is of another version of going-deeper ({one_line(error)})"
        ) from None
    root = path.absolute().parents[2]
    if root / config.folder != path.absolute().parent:
        raise InputError(
            f"{folder}: has another name than it was made under; call it ROOT/{config.folder}"
        )
    classes = sealing.DATASET.unseal(config.data, root).classes
    classifier = our_classifier(config, Run(config, root).weights(weights), len(classes))
    classifier.network.eval()
    return classifier
