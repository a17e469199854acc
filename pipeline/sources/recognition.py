"""Whether images are those of ILSVRC-2012, by what they are and not by what they are
called.
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

from pipeline.artefacts.contents import Manifest
from pipeline.configs.prepare import DEVKIT, ILSVRC2012_IMAGES, TRAIN, VAL
from pipeline.errors import present
from pipeline.sources.ilsvrc import IMAGES_PER_CLASS, MD5, NUM_CLASSES

VAL_ID = re.compile(r"ILSVRC2012_val_(\d{8})(?!\d)")
# ours: the original labels agree with nine tenths of those of 2006.07159, and labels in
# another order with one in a hundred; so some two in a hundred may be wrong
AGREEMENT = 0.88
# The bytes of the original images. Their archives have 6,744,924,160 and
# 147,897,477,120 bytes; an image's header has 512, and its padding half as many in the
# mean, so the sums are known to some hundred thousandths.
HEADER_AND_PADDING = 512 + 255.5
ORIGINAL_BYTES = {
    "val": 6_744_924_160 - ILSVRC2012_IMAGES["val"] * HEADER_AND_PADDING,
    "train": 147_897_477_120 - ILSVRC2012_IMAGES["train"] * HEADER_AND_PADDING,
}
BYTES_TOLERANCE = 0.001  # ours: a share; more is another encoding
# ours: a hundredth of the validation images, all set right, moves an error of 10 % by
# 0.1 points, about one standard error
LEAKED = 0.01


class Recognition(NamedTuple):
    """`words` say by what the images were recognised, or why they were not."""

    is_ilsvrc2012: bool
    words: str


def recognise_training(manifest: Manifest) -> Recognition:
    """Compare a training split with ILSVRC-2012's 1,281,167 images.

    The original archive is known by its MD5, another copy by its class list and its
    numbers of images. Validation images among them are counted.
    """
    count, (least, most) = ILSVRC2012_IMAGES["train"], IMAGES_PER_CLASS["train"]
    numbers = manifest.images_per_class["train"]
    is_original = all(manifest.source_md5.get(name) == MD5[name] for name in (TRAIN, DEVKIT))
    if is_original:
        words = "training images recognised by the MD5 of their archive"
    elif sum(numbers) != count:
        return Recognition(False, f"has {sum(numbers)} training images, not {count}")
    elif manifest.classes != synsets():
        return Recognition(False, "has other classes than ILSVRC-2012's, or in another order")
    elif not all(least <= number <= most for number in numbers):
        return Recognition(False, f"has classes with other than {least} to {most} training images")
    elif _other_size(manifest.bytes_of_splits, "train") and not manifest.config.get("reencode"):
        return Recognition(False, "has training images that were encoded anew, by their size")
    else:
        words = "training images recognised by their classes and numbers, pixels not compared"
    if not is_original and manifest.num_leaks > LEAKED * ILSVRC2012_IMAGES["val"]:
        return Recognition(
            False, f"has {manifest.num_leaks} validation images among its training images"
        )
    leaks = f"; {manifest.num_leaks} of them are validation images too"
    return Recognition(True, words + (leaks if manifest.num_leaks else ""))


def recognise(
    source_md5: Mapping[str, str],
    image_ids: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
    bytes_of_splits: Mapping[str, int] | None = None,
) -> Recognition:
    """Compare a validation split with ILSVRC-2012's 50,000 images of 1000 classes.

    The original archives are known by their MD5 (`source_md5`, by file name). Other
    copies are known by the names of the images, the class list in sorted order, 50
    images a class, labels that agree with the reassessed ones of Beyer and others
    (2006.07159), which timm carries, and the size of all images (`bytes_of_splits`);
    their pixels are not compared.
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
    if list(classes) != synsets():
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
    if size := _other_size(bytes_of_splits, "val"):
        return Recognition(
            False,
            f"has images of {size / 1e6:.0f} MB in all, where ILSVRC-2012's have"
            f" {ORIGINAL_BYTES['val'] / 1e6:.0f}: they were encoded anew",
        )
    return Recognition(
        True,
        "validation images recognised by their names, classes, labels"
        f" ({100 * share:.1f} % agree with the reassessed ones)"
        f"{' and size' if bytes_of_splits else ''}, pixels not compared",
    )


def _other_size(bytes_of_splits: Mapping[str, int] | None, split: str) -> int | None:
    """Return the size of a split's images if it is not that of the originals."""
    size = (bytes_of_splits or {}).get(split)
    is_other = size is not None and abs(size / ORIGINAL_BYTES[split] - 1) > BYTES_TOLERANCE
    return size if is_other else None


def _timm_file(name: str) -> str:
    """A list that timm carries; timm itself, which imports torch, is not imported."""
    spec = present(find_spec("timm"), "timm")
    folder = Path(present(spec.submodule_search_locations, "timm's folder")[0])
    return (folder / "data" / "_info" / name).read_text()


@cache
def synsets() -> list[str]:
    return _timm_file("imagenet_synsets.txt").split()


@cache
def _reassessed_labels() -> list[list[int]]:
    """Right labels of each validation image, in the order of their numbers; none where
    the experts found none.
    """
    labels: list[list[int]] = json.loads(_timm_file("imagenet_real_labels.json"))
    return labels
