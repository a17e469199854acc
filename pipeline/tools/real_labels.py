"""Errors of an evaluation by other labels of ILSVRC-2012's validation images, of which
an image may have several or none: ImageNet-ReaL's (Beyer and others, 2006.07159).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.scores import blocks
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import ILSVRC2012_IMAGES
from pipeline.errors import InputError
from pipeline.sources.recognition import VAL_ID, synsets
from pipeline.sources.registry import open_source
from pipeline.statistics.label_ranks import rank_of_best_label

EXPECTED = (
    "ImageNet-ReaL's real.json: a list of 50,000 lists of class numbers, in the order of the"
    " images' numbers"
)
Labels = list[list[int]]


class Errors(NamedTuple):
    """Shares of the images that have labels: top-1 and top-5 errors by these labels,
    and by the original ones on the same images.
    """

    policy: str
    top1: float
    top5: float
    original_top1: float
    original_top5: float


def read_real_labels(path: Path) -> Labels:
    """Return the right labels of each validation image, in the order of their numbers.

    Raises:
        InputError: the file is not in the form of ImageNet-ReaL's.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected {EXPECTED}")
    try:
        content: Any = json.loads(path.read_text())
    except (OSError, ValueError):
        raise InputError(f"{path}: cannot be read as JSON; expected {EXPECTED}") from None
    if not isinstance(content, list) or len(content) != ILSVRC2012_IMAGES["val"]:
        count = f"a list of {len(content)}" if isinstance(content, list) else "no list"
        raise InputError(f"{path}: is {count}; expected {EXPECTED}")
    known = set(range(len(synsets())))
    for number, labels in enumerate(content, 1):
        whole = isinstance(labels, list) and all(type(label) is int for label in labels)
        if not whole or not known.issuperset(labels):
            raise InputError(f"{path}: has {labels!r} for image {number}; expected {EXPECTED}")
    return content


def refuse_other_images(config: EvaluateConfig, path: Path) -> None:
    """Raise InputError, before any work, if an evaluation is not on ILSVRC-2012's
    validation images, by their names, with its classes in their usual order.
    """
    source = open_source(config.data)
    if source.classes != synsets():
        raise InputError(
            f"--real-labels {path}: are numbers of ILSVRC-2012's 1000 classes in sorted order, and"
            f" data set {config.data.name} has other classes or another order; give --classes"
        )
    _numbers([piece.name for piece in source.pieces() if piece.split == "val"], path)


def real_errors(config: EvaluateConfig, root: Path, labels: Labels, path: Path) -> list[str]:
    """Return lines for people: the errors of a complete evaluation, by each policy."""
    data, predictions = Dataset(config.data, root), Predictions(config, root)
    numbers = _numbers(data.split("val").image_ids, path)
    right = [labels[number - 1] for number in numbers]
    num_counted = sum(map(bool, right))
    lines = [
        f"by {path.name}, on the {num_counted} of {len(right)} images that have labels there (in"
        " brackets by the original labels, on the same images):"
    ]
    for errors in _errors(predictions, right):
        lines.append(
            f"{errors.policy:>20}  top-1 {100 * errors.top1:.2f} %"
            f" ({100 * errors.original_top1:.2f} %)  top-5 {100 * errors.top5:.2f} %"
            f" ({100 * errors.original_top5:.2f} %)"
        )
    return lines


def _errors(predictions: Predictions, right: Sequence[Sequence[int]]) -> Iterator[Errors]:
    counts = np.array(list(map(bool, right)))
    for policy in predictions.config.policies:
        scores = predictions.scores(policy)
        ranks = np.concatenate(
            [
                rank_of_best_label(
                    scores[rows][counts[rows]], [labels for labels in right[rows] if labels]
                )
                for rows in blocks(len(right))
            ]
        )
        own = predictions.ranks(policy)[counts]
        shares = (float((each >= top).mean()) for each in (ranks, own) for top in (1, 5))
        yield Errors(policy, *shares)


def _numbers(names: Sequence[str], path: Path) -> list[int]:
    """Return the number that each image of ILSVRC-2012's has in its name."""
    matches = [VAL_ID.search(name) for name in names]
    numbers = [int(match[1]) for match in matches if match]
    last = ILSVRC2012_IMAGES["val"]
    if len(numbers) < len(names) or len(set(numbers)) < len(numbers) or max(numbers) > last:
        other = next((n for n, match in zip(names, matches, strict=True) if not match), names[0])
        raise InputError(
            f"--real-labels {path}: are those of ILSVRC2012_val_00000001 to {last:08d}; the data"
            f" has other images, or one twice, such as {other}"
        )
    return numbers
