"""Test-time crops of the paper (section 7). Geometry only: no pixels, no files.

What the paper leaves open is pinned here: the long side and the offset of the centre square are rounded down, the whole
square is resized from the already scaled image, and the 10 crops are AlexNet's: four corners and centre of the central
square at the smallest scale, mirrored. The policies nest: 1 < 10 < 144.
"""

from typing import NamedTuple

SCALES = (256, 288, 320, 352)  # paper, section 7: shorter side, for an input of 224
PAPER_INPUT_SIZE = 224
NUM_CROPS = {"crops_1": 1, "crops_10": 10, "crops_144": 144}


class Crop(NamedTuple):
    """A square window of the image resized so that its shorter side is `scale`; `side` is the input size, or `scale` for
    the whole square, which is then resized to the input size."""

    scale: int
    left: int
    top: int
    side: int
    mirrored: bool


def scales(input_size: int) -> tuple[int, ...]:
    """The four shorter sides for an input size (224 in the paper).

    Exact for multiples of 14, where corners and centre lie on whole pixels too; else rounded down.

    >>> scales(224), scales(112), scales(299)
    ((256, 288, 320, 352), (128, 144, 160, 176), (341, 384, 427, 469))
    """
    return tuple(s * input_size // PAPER_INPUT_SIZE for s in SCALES)


def scaled_size(width: int, height: int, scale: int) -> tuple[int, int]:
    """Width and height after the shorter side became `scale`; the longer side is rounded down, as torchvision does.

    >>> scaled_size(500, 375, 256)
    (341, 256)
    """
    if width <= height:
        return scale, height * scale // width
    return width * scale // height, scale


def squares(width: int, height: int, scale: int) -> tuple[tuple[int, int], ...]:
    """Left, centre and right square of a landscape image; top, centre and bottom of a portrait one: (left, top).

    >>> squares(500, 375, 256)
    ((0, 0), (42, 0), (85, 0))
    """
    scaled_width, scaled_height = scaled_size(width, height, scale)
    slack = max(scaled_width, scaled_height) - scale
    offsets = (0, slack // 2, slack)
    return tuple((o, 0) if scaled_width >= scaled_height else (0, o) for o in offsets)


def windows(scale: int, input_size: int) -> tuple[tuple[int, int, int], ...]:
    """Views of a square of side `scale`: the centre, the four corners, then the whole square: (left, top, side).

    >>> windows(256, 224)
    ((16, 16, 224), (0, 0, 224), (32, 0, 224), (0, 32, 224), (32, 32, 224), (0, 0, 256))
    """
    far = scale - input_size
    at_size = ((far // 2, far // 2), (0, 0), (far, 0), (0, far), (far, far))
    return (*((left, top, input_size) for left, top in at_size), (0, 0, scale))


def crops_144(width: int, height: int, input_size: int = PAPER_INPUT_SIZE) -> tuple[Crop, ...]:
    """4 scales x 3 squares x 6 windows x 2 mirrors, in that order: crop 2k + 1 is the mirror image of crop 2k.

    >>> crops = crops_144(width=500, height=375)
    >>> len(crops), crops[0], len(set(crops_144(300, 300)))
    (144, Crop(scale=256, left=16, top=16, side=224, mirrored=False), 48)
    """
    return tuple(
        Crop(scale, x + dx, y + dy, side, mirrored)
        for scale in scales(input_size)
        for x, y in squares(width, height, scale)
        for dx, dy, side in windows(scale, input_size)
        for mirrored in (False, True)
    )


def crops_10(width: int, height: int, input_size: int = PAPER_INPUT_SIZE) -> tuple[Crop, ...]:
    """Centre and corners of the central square at the smallest scale, each with its mirror image (AlexNet's ten).

    >>> set(crops_10(500, 375)) < set(crops_144(500, 375))
    True
    """
    scale = scales(input_size)[0]
    x, y = squares(width, height, scale)[1]
    return tuple(
        Crop(scale, x + dx, y + dy, side, mirrored)
        for dx, dy, side in windows(scale, input_size)[:5]
        for mirrored in (False, True)
    )


def crops_1(width: int, height: int, input_size: int = PAPER_INPUT_SIZE) -> tuple[Crop, ...]:
    """The centre of the central square at the smallest scale."""
    return crops_10(width, height, input_size)[:1]


POLICIES = {"crops_1": crops_1, "crops_10": crops_10, "crops_144": crops_144}
