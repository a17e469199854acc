"""Whether the paper's published numbers say anything about what a study measured."""

from collections.abc import Iterable

from pipeline.configs.evaluate import ForeignConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.paper.published import DATASET

# paper, sections 5 and 7: the validation set of Table 3
INPUT_SIZE, NUM_IMAGES, NUM_CLASSES = 224, 50_000, 1000


def not_the_papers(
    members: Iterable[tuple[PrepareConfig, TrainConfig | ForeignConfig]],
    num_images: int,
    num_classes: int,
) -> str | None:
    """In what members, each a data set and what was evaluated on it, differ so much
    from the paper's that its published numbers say nothing about them, or None.
    """
    for data, shape in members:
        if data.name != DATASET or shape.input_size != INPUT_SIZE:
            return f"ran on {data.name}, {shape.input_size} px"
        if isinstance(shape, ForeignConfig) and shape.arch != "googlenet":
            return f"measured {shape.arch}"
        if isinstance(shape, TrainConfig) and shape.network.width < 1:
            return f"has a network of width {shape.network.width:g}"
    if (num_images, num_classes) != (NUM_IMAGES, NUM_CLASSES):
        return (
            f"has {num_images} images of {num_classes} classes, not {NUM_IMAGES} of {NUM_CLASSES}"
        )
    return None
