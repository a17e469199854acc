"""Training-time sampling of the paper (section 6), as pure functions of explicit randomness. No pixels, no files."""

import hashlib
import math
import random
from typing import NamedTuple

AREA = (0.08, 1.0)  # paper, section 6: patch area, share of the image, uniform
ASPECT = (3 / 4, 4 / 3)  # paper, section 6: aspect ratio of the patch
INTERPOLATIONS = ("bilinear", "area", "nearest", "cubic")  # paper, section 6: with equal probability
ATTEMPTS = 10  # ours: draws before falling back to the central square, as torchvision does


class Patch(NamedTuple):
    """A window of the original image in pixels, resized to the input size with `interpolation`, then mirrored or not."""

    left: int
    top: int
    width: int
    height: int
    interpolation: str
    mirrored: bool


def stream(*key: int | str) -> random.Random:
    """A private random stream for a key such as (seed, epoch, index): equal keys give equal streams, on every machine.

    >>> stream(0, 3, 17).random() == stream(0, 3, 17).random()
    True
    """
    return random.Random(hashlib.blake2b(repr(key).encode(), digest_size=16).digest())


def training_patch(rng: random.Random, width: int, height: int, min_area: float = AREA[0]) -> Patch:
    """Draw the training patch of a `width` x `height` image (paper, section 6).

    Area uniform, aspect ratio uniform in its logarithm (`ours`, as torchvision: the paper names only the interval);
    a draw that does not fit is repeated, at most ten times.
    """
    interpolation = rng.choice(INTERPOLATIONS)
    mirrored = rng.random() < 0.5  # ours: not in the paper; every reproduction mirrors
    for _ in range(ATTEMPTS):
        area = rng.uniform(min_area, AREA[1]) * width * height
        aspect = math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = rng.randint(0, width - w), rng.randint(0, height - h)
            return Patch(left, top, w, h, interpolation, mirrored)
    side = min(width, height)
    return Patch((width - side) // 2, (height - side) // 2, side, side, interpolation, mirrored)
