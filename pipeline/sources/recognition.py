"""Whether validation images are those of ILSVRC-2012, by what they are and not by what
they are called.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.configs.prepare import DEVKIT, ILSVRC2012_IMAGES, VAL
from pipeline.errors import present
from pipeline.sources.ilsvrc import IMAGES_PER_CLASS, MD5, NUM_CLASSES

VAL_ID = re.compile(r"ILSVRC2012_val_(\d{8})(?!\d)")
# ours: the original labels agree with some nine tenths of those of 2006.07159, and
# labels in another order with one in a hundred
AGREEMENT = 0.8


class Recognition(NamedTuple):
    """`words` say by what the images were recognised, or why they were not."""

    is_ilsvrc2012: bool
    words: str


def recognise(
    source_md5: Mapping[str, str],
    image_ids: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
) -> Recognition:
    """Compare a validation split with ILSVRC-2012's 50,000 images of 1000 classes.

    The original archives are known by their MD5 (`source_md5`, by file name). Other
    copies are known by the names of the images, the class list in sorted order, 50
    images a class, and labels that agree with the reassessed ones of Beyer and others
    (2006.07159), which timm carries; their pixels are not compared.
    """
    if all(source_md5.get(name) == MD5[name] for name in (VAL, DEVKIT)):
        return Recognition(True, "validation images recognised by the MD5 of their archives")
    num_images, (per_class, _) = ILSVRC2012_IMAGES["val"], IMAGES_PER_CLASS["val"]
    if (len(image_ids), len(classes)) != (num_images, NUM_CLASSES):
        return Recognition(
            False,
            f"has {len(image_ids)} images of {len(classes)} classes, not {num_images} of"
            f" {NUM_CLASSES}",
        )
    numbers = [int(name[1]) for name in map(VAL_ID.search, image_ids) if name]
    if sorted(numbers) != list(range(1, num_images + 1)):
        return Recognition(
            False,
            f"has images that are not named as ILSVRC-2012's ({image_ids[0]}; expected"
            " ILSVRC2012_val_00000001 and so on)",
        )
    if list(classes) != _synsets():
        return Recognition(
            False, "has other classes than ILSVRC-2012's, or in another order than their ids'"
        )
    if set(Counter(labels.tolist()).values()) != {per_class}:
        return Recognition(False, f"has classes with other than {per_class} images")
    reassessed = _reassessed_labels()
    agree = [
        label in reassessed[number - 1]
        for number, label in zip(numbers, labels.tolist(), strict=True)
        if reassessed[number - 1]
    ]
    share = sum(agree) / len(agree)
    if share < AGREEMENT:
        return Recognition(
            False,
            f"has labels of which only {100 * share:.1f} % agree with ILSVRC-2012's images",
        )
    return Recognition(
        True,
        "validation images recognised by their names, classes and labels, pixels not compared",
    )


def _timm_file(name: str) -> str:
    """A list that timm carries; timm itself, which imports torch, is not imported."""
    spec = present(find_spec("timm"), "timm")
    folder = Path(present(spec.submodule_search_locations, "timm's folder")[0])
    return (folder / "data" / "_info" / name).read_text()


@cache
def _synsets() -> list[str]:
    return _timm_file("imagenet_synsets.txt").split()


@cache
def _reassessed_labels() -> list[list[int]]:
    """Right labels of each validation image, in the order of their numbers; none where
    the experts found none.
    """
    labels: list[list[int]] = json.loads(_timm_file("imagenet_real_labels.json"))
    return labels
