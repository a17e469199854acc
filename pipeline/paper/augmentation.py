"""The sampling of training images (paper, section 6).

Its functions are pure: they take their randomness as an argument, and touch no pixels
and no files.
"""

import hashlib
import math
import random
from typing import Literal, NamedTuple

AREA = (0.08, 1.0)  # paper, section 6: patch area, share of the image, uniform
ASPECT = (3 / 4, 4 / 3)  # paper, section 6: aspect ratio of the patch
# paper, section 6: with equal probability
INTERPOLATIONS = ("bilinear", "area", "nearest", "cubic")
ATTEMPTS = 10  # ours: draws before the central square is taken, as in torchvision

# paper, section 6: "photometric distortions by Andrew Howard"; his recipe (1312.5402),
# second-hand: see PAPER.md 2.4
ENHANCEMENTS = ("contrast", "brightness", "colour")
ENHANCEMENT_FACTOR = (0.5, 1.5)  # 1 leaves the image as it is

# AlexNet's lighting noise (section 4.1 of its paper), which Howard adds. It uses the
# principal components of ImageNet's RGB values in [0, 1]; eigenvalues and columns of
# eigenvectors are those of fb.resnet.torch. The literal formula on 0..255 is 255
# times too strong.
LIGHTING_EIGENVALUES = (0.2175, 0.0188, 0.0045)
LIGHTING_EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)
LIGHTING_SIGMA = 0.1

# Caffe's usual preparation of ImageNet: every image at 256 x 256, for an input of 224
WARPED_SIDE, WARPED_INPUT = 256, 224

Sampling = Literal["inception", "caffe", "warped"]


class Patch(NamedTuple):
    """A window of the original image, in pixels.

    It is resized to the input size with `interpolation`, then mirrored or not. Where
    `warped` is not 0, the whole image is first resized to a square of that side; then
    the window is one of that square, and has the input size already.
    """

    left: int
    top: int
    width: int
    height: int
    interpolation: str
    mirrored: bool
    warped: int = 0


class Distortion(NamedTuple):
    """Photometric changes: enhancements in order, then a shift of the colours.

    An enhancement has a name and a factor. The shift is of R, G and B, in units of
    [0, 1].
    """

    enhancements: tuple[tuple[str, float], ...]
    shift: tuple[float, float, float]


def stream(*key: int | str) -> random.Random:
    """Return a random stream of its own for a key such as (seed, epoch, index).

    Equal keys give equal streams, on every machine.

    >>> stream(0, 3, 17).random() == stream(0, 3, 17).random()
    True
    """
    return random.Random(hashlib.blake2b(repr(key).encode(), digest_size=16).digest())


def training_patch(
    rng: random.Random,
    width: int,
    height: int,
    min_area: float = AREA[0],
    sampling: Sampling = "inception",
    input_size: int = WARPED_INPUT,
) -> Patch:
    """Draw the training patch of a `width` x `height` image.

    `inception` is the paper's sampling (section 6); a draw that does not fit is
    repeated, at most ten times. `warped` is the sampling of Caffe's quick recipe: the
    image is warped to 256 x 256, and the patch is a random window of 224 of it, in
    whole pixels. Other input sizes are in proportion. `caffe` is nearly the same in one
    resize: the patch is a random window of 7/8 of the sides.
    """
    interpolation = rng.choice(INTERPOLATIONS) if sampling == "inception" else "bilinear"
    mirrored = rng.random() < 0.5  # ours: not in the paper; every reproduction mirrors
    if sampling == "warped":
        side = WARPED_SIDE * input_size // WARPED_INPUT
        left, top = (rng.randint(0, side - input_size) for _ in range(2))
        return Patch(left, top, input_size, input_size, interpolation, mirrored, warped=side)
    if sampling == "caffe":
        w, h = max(1, width * 224 // 256), max(1, height * 224 // 256)
        return Patch(
            rng.randint(0, width - w), rng.randint(0, height - h), w, h, interpolation, mirrored
        )
    for _ in range(ATTEMPTS):
        share, aspect = area_and_aspect(rng, min_area)
        area = share * width * height
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = rng.randint(0, width - w), rng.randint(0, height - h)
            return Patch(left, top, w, h, interpolation, mirrored)
    side = min(width, height)
    return Patch((width - side) // 2, (height - side) // 2, side, side, interpolation, mirrored)


def area_and_aspect(rng: random.Random, min_area: float = AREA[0]) -> tuple[float, float]:
    """Draw a patch's share of the image's area, and its aspect ratio.

    The share is uniform. The logarithm of the aspect ratio is uniform (`ours`: the
    paper states only the interval).
    """
    share = rng.uniform(min_area, AREA[1])
    return share, math.exp(rng.uniform(math.log(ASPECT[0]), math.log(ASPECT[1])))


def training_distortion(rng: random.Random) -> Distortion:
    """Draw Howard's photometric distortions.

    These are three enhancements in random order, then AlexNet's lighting noise. Each
    enhancement has a factor of its own, drawn uniformly (`ours`: Howard states no
    distribution).
    """
    order = rng.sample(ENHANCEMENTS, k=3)
    enhancements = tuple((name, rng.uniform(*ENHANCEMENT_FACTOR)) for name in order)
    weights = [rng.gauss(0.0, LIGHTING_SIGMA) * value for value in LIGHTING_EIGENVALUES]
    red, green, blue = (
        sum(p * w for p, w in zip(row, weights, strict=True)) for row in LIGHTING_EIGENVECTORS
    )
    return Distortion(enhancements, (red, green, blue))
