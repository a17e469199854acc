"""The arms of the ablations: a training, and the same with other fields, by name. The
first arm of each is the training itself.
"""

from collections.abc import Mapping

from pipeline.configs.train import TrainConfig

Arms = Mapping[str, TrainConfig]


def aux_heads(run: TrainConfig) -> Arms:
    """A training with both auxiliary heads, as in the paper, without any, and with
    either.
    """
    heads: dict[str, tuple[str, ...]] = {
        "both": ("4a", "4d"),
        "none": (),
        "4a": ("4a",),
        "4d": ("4d",),
    }
    return {
        name: run.but(network=run.network.but(aux_heads=chosen)) for name, chosen in heads.items()
    }


def normalisations(run: TrainConfig) -> Arms:
    """Local response normalisation, as in the paper, none, and batch normalisation."""
    return {
        "local response": run,
        "none": run.but(network=run.network.but(norm="none")),
        "batch": run.but(network=run.network.but(norm="batch")),
    }


def pooling_heads(run: TrainConfig) -> Arms:
    """Average pooling before the classifier, as in the paper, and a connected layer."""
    return {
        "average pooling": run,
        "fully connected": run.but(network=run.network.but(head="fully_connected")),
    }


def augmentations(run: TrainConfig) -> Arms:
    """The paper's patches, photometric distortions too, and Caffe's fixed window."""
    return {
        "patches": run,
        "patches and distortions": run.but(photometric=True),
        "window of Caffe": run.but(sampling="caffe"),
    }


def averages(run: TrainConfig) -> Arms:
    """An exponential average of the weights, none (`raw`, of the same training), and
    one of equal weights over the last half.
    """
    return {
        "exponential": run,
        "raw": run,
        "equal": run.but(averaging="equal", averaging_start_epoch=run.num_epochs / 2),
    }


def initialisations(run: TrainConfig) -> Arms:
    """Weights that begin as Kaiming's, as Caffe's, and as a Gaussian's."""
    return {
        "kaiming": run,
        "caffe": run.but(init="caffe"),
        "gaussian": run.but(init="gaussian"),
    }
