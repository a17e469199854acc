"""The errors of any classifier on a folder of images, under the paper's protocol."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from pipeline.artefacts.dataset import Dataset
from pipeline.configs.crops import CropsConfig
from pipeline.configs.network import PixelConfig, Precision
from pipeline.configs.wrong_fields import one_line
from pipeline.errors import InputError
from pipeline.models.classify import classify
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.models.making import as_network
from pipeline.paper.policies import label_of
from pipeline.paper.preprocessing import PREPROCESSING
from pipeline.runtime.environment import num_loaders
from pipeline.stages.prepare import prepare
from pipeline.statistics.inference import wilson
from pipeline.statistics.label_ranks import rank_of_label
from pipeline.tools.images_to_classify import images_of

Triple = tuple[float, float, float]


class Evaluation(NamedTuple):
    """What a classifier got right.

    `errors` has a row for each policy: the numbers of crops and images, and top-1 and
    top-5 errors (shares) with Wilson's 95 % intervals. `images` has a row for each
    image: its name, its label, and by policy how many classes beat the right one (0:
    right).
    """

    errors: pd.DataFrame
    images: pd.DataFrame


def evaluate(
    classifier: Classifier | nn.Module | Callable[[Tensor], Tensor],
    folder: str | Path,
    policies: Sequence[str] = ("crops_1", "crops_10", "crops_144"),
    *,
    classes: str | Path | None = None,
    mean: Triple = PREPROCESSING.mean,
    std: Triple = PREPROCESSING.std,
    input_size: int = 224,
    rules: CropsConfig | None = None,
    precision: Precision = "fp32",
    device: str = "cpu",
    root: str | Path | None = None,
) -> Evaluation:
    """Measure a classifier on all crops of all images, as `going-deeper evaluate` does.

    Args:
        classifier: what `load` returns, or a network or function in evaluation mode,
            from N x 3 x side x side to logits of N x classes.
        folder: images, with val/<class>/, <class>/ or files named <class>_*.
        policies: see `crops`, also with _max or _geometric behind a name.
        classes: a file with a class a line, in the order of the outputs; by default the
            folders' names, sorted.
        mean, std: of pixels in 0..255, RGB; they and `input_size` are for networks that
            are no `Classifier`, which has its own.
        rules: what the paper leaves open about crops.
        root: where the prepared images are kept; by default they are not.

    Raises:
        InputError: the folder holds no labelled images, or the outputs do not fit.
    """
    if not isinstance(classifier, Classifier):
        try:
            pixels = PixelConfig(mean=mean, std=std)
        except ValidationError as error:
            raise InputError(one_line(error)) from None
        classifier = Classifier(as_network(classifier), pixels.preprocessing, input_size)
    engine = Engine(classifier, torch.device(device), precision)
    with tempfile.TemporaryDirectory() if root is None else nullcontext(str(root)) as place:
        config = images_of(Path(folder), None if classes is None else Path(classes))
        data: Dataset = prepare(config, Path(place))
        engine.refuse_wrong_outputs(data.num_classes, "classifier")
        split = data.split("val")
        ids = range(len(split))
        if not len(split):
            raise InputError(f"{folder}: holds no images")
        scores, _ = classify(
            engine,
            split,
            ids,
            data.num_classes,
            list(policies),
            rules or CropsConfig(),
            num_loaders(engine.device.type),
        )
        labels, names = split.labels, list(split.image_ids)
    ranks = {policy: rank_of_label(scores[policy], labels) for policy in policies}
    rows = []
    for policy in policies:
        row: dict[str, object] = {"policy": policy, "crops": label_of(policy), "images": len(names)}
        for top in (1, 5):
            misses = int((ranks[policy] >= top).sum())
            low, high = wilson(misses, len(names))
            row |= {
                f"top{top}_error": misses / len(names),
                f"top{top}_low": low,
                f"top{top}_high": high,
            }
        rows.append(row)
    columns = {"image_id": names, "label": [data.classes[label] for label in labels]}
    return Evaluation(pd.DataFrame(rows), pd.DataFrame(columns | ranks))
