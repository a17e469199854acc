"""The geometry of the paper's test-time crops (section 7), without pixels or files.

`Rules` fix what the paper leaves open. Their defaults are ours; each alternative is an
option by name. The 10 crops are AlexNet's: four corners and centre of the central
square at the smallest scale, and their mirror images.
"""

from typing import Literal, NamedTuple

SCALES = (256, 288, 320, 352)  # paper, section 7: shorter side, for an input of 224
# VGG (1409.1556), section 3.2: multi-crop evaluation of a network trained with scale
# jitter
VGG_SCALES = (256, 384, 512)
VGG_GRID = 5  # VGG: a 5x5 grid of crops at each scale
# ResNet (1512.03385), section 3.4: shorter sides of whole images
RESNET_SCALES = (224, 256, 384, 480, 640)
PAPER_INPUT_SIZE = 224

LongSide = Literal["floor", "round", "ceil"]
Centre = Literal["floor", "half_even"]
WholeSquare = Literal["scaled", "original"]
TenCrops = Literal["central_square", "whole_image"]
Aspect = Literal["kept", "warped"]


class Rules(NamedTuple):
    """What the paper does not say about the geometry; the defaults are ours.

    long_side: how the longer side of the scaled image is rounded; torchvision takes the
        floor.
    centre: how the offset of a centre is rounded: down, or half to even, as in
        torchvision's CenterCrop.
    whole_square: the whole square is resized from the scaled image (the text says
        "resized" twice), or from the original. From the original it is the same at all
        four scales.
    ten_crops: corners of the central square (AlexNet), or of the whole scaled image
        (torchvision's TenCrop).
    aspect: the scaled image keeps the proportions of the original, or it is warped to a
        square, as in Caffe's usual preparation of ImageNet. Warped, crops_1 is Caffe's
        centre crop of 256 x 256.
    """

    long_side: LongSide = "floor"
    centre: Centre = "floor"
    whole_square: WholeSquare = "scaled"
    ten_crops: TenCrops = "central_square"
    aspect: Aspect = "kept"


RULES = Rules()


class Crop(NamedTuple):
    """A square window of a scaled image, whose shorter side is `scale`.

    `side` is the input size. Where the window is a whole square, `side` is that
    square's; the window is then resized to the input size.
    """

    scale: int
    left: int
    top: int
    side: int
    mirrored: bool


def scales(input_size: int) -> tuple[int, ...]:
    """Return the four shorter sides for an input size (224 in the paper).

    They are exact for multiples of 14, for which corners and centre lie on whole pixels
    too. Otherwise they are rounded down.

    >>> scales(224), scales(112), scales(299)
    ((256, 288, 320, 352), (128, 144, 160, 176), (341, 384, 427, 469))
    """
    return tuple(s * input_size // PAPER_INPUT_SIZE for s in SCALES)


def resnet_scales(input_size: int) -> tuple[int, ...]:
    """Return the five shorter sides of ResNet's evaluation on whole images.

    The paper has them for an input of 224; for others they grow with it (ours).

    >>> resnet_scales(224), resnet_scales(299)
    ((224, 256, 384, 480, 640), (299, 341, 512, 640, 854))
    """
    return tuple(s * input_size // PAPER_INPUT_SIZE for s in RESNET_SCALES)


def scaled_size(width: int, height: int, scale: int, rules: Rules = RULES) -> tuple[int, int]:
    """Return width and height of the image whose shorter side is scaled to `scale`.

    Where the image is warped, both are `scale`.

    >>> scaled_size(500, 375, 256), scaled_size(500, 375, 256, Rules(long_side="ceil"))
    ((341, 256), (342, 256))
    """
    if rules.aspect == "warped":
        return scale, scale
    short, long = min(width, height), max(width, height)
    longer = {
        "floor": long * scale // short,
        "round": (2 * long * scale + short) // (2 * short),
        "ceil": -(-long * scale // short),
    }[rules.long_side]
    return (scale, longer) if width <= height else (longer, scale)


def squares(
    width: int, height: int, scale: int, rules: Rules = RULES
) -> tuple[tuple[int, int], ...]:
    """Return the corners (left, top) of the three squares of an image.

    They are left, centre and right of a landscape image, and top, centre and bottom of
    a portrait image.

    >>> squares(500, 375, 256), squares(500, 375, 352, Rules(centre="half_even"))
    (((0, 0), (42, 0), (85, 0)), ((0, 0), (58, 0), (117, 0)))
    """
    scaled_width, scaled_height = scaled_size(width, height, scale, rules)
    slack = max(scaled_width, scaled_height) - scale
    offsets = (0, _half(slack, rules), slack)
    return tuple((o, 0) if scaled_width >= scaled_height else (0, o) for o in offsets)


def _half(slack: int, rules: Rules) -> int:
    return slack // 2 if rules.centre == "floor" else round(slack / 2)


def windows(scale: int, input_size: int) -> tuple[tuple[int, int], ...]:
    """Return the corners (left, top) of five views in a square of side `scale`.

    The views have the input's size: the centre, then the four corners.

    >>> windows(256, 224)
    ((16, 16), (0, 0), (32, 0), (0, 32), (32, 32))
    """
    far = scale - input_size
    return (far // 2, far // 2), (0, 0), (far, 0), (0, far), (far, far)


def crops_144(
    width: int, height: int, input_size: int = PAPER_INPUT_SIZE, rules: Rules = RULES
) -> tuple[Crop, ...]:
    """Return the crops: 4 scales x 3 squares x 6 views x 2 mirrors, in that order.

    Crop 2k + 1 is the mirror image of crop 2k. The views of a square are its centre,
    its corners and the whole square. In a square image the three squares are the same,
    so 48 crops are distinct. Each is listed three times, which keeps its weight in an
    average.

    >>> crops = crops_144(width=500, height=375)
    >>> len(crops), crops[0], len(set(crops_144(300, 300)))
    (144, Crop(scale=256, left=16, top=16, side=224, mirrored=False), 48)
    """
    short = min(width, height)
    crops = []
    for scale in scales(input_size):
        whole_scale = scale if rules.whole_square == "scaled" else short
        wholes = squares(width, height, whole_scale, rules)
        for (x, y), (whole_x, whole_y) in zip(
            squares(width, height, scale, rules), wholes, strict=True
        ):
            views = [
                Crop(scale, x + dx, y + dy, input_size, False)
                for dx, dy in windows(scale, input_size)
            ]
            views.append(Crop(whole_scale, whole_x, whole_y, whole_scale, False))
            crops += [
                view._replace(mirrored=mirrored) for view in views for mirrored in (False, True)
            ]
    return tuple(crops)


def crops_10(
    width: int, height: int, input_size: int = PAPER_INPUT_SIZE, rules: Rules = RULES
) -> tuple[Crop, ...]:
    """Return centre and corners at the smallest scale, each with its mirror image.

    >>> set(crops_10(500, 375)) < set(crops_144(500, 375))
    True
    """
    scale = scales(input_size)[0]
    if rules.ten_crops == "central_square":
        x, y = squares(width, height, scale, rules)[1]
        places = [(x + dx, y + dy) for dx, dy in windows(scale, input_size)]
    else:
        right, bottom = (side - input_size for side in scaled_size(width, height, scale, rules))
        places = [
            (_half(right, rules), _half(bottom, rules)),
            (0, 0),
            (right, 0),
            (0, bottom),
            (right, bottom),
        ]
    return tuple(
        Crop(scale, x, y, input_size, mirrored) for x, y in places for mirrored in (False, True)
    )


def v3_12(
    width: int, height: int, input_size: int = PAPER_INPUT_SIZE, rules: Rules = RULES
) -> tuple[Crop, ...]:
    """Return 12 crops, as many as Inception-v3's papers have (1512.00567, 1602.07261).

    These papers do not say which. Ours are all views of the central square at the
    smallest scale, each with its mirror image: one of the 12 squares of `crops_144`.

    >>> set(crops_10(500, 375)) < set(v3_12(500, 375)) < set(crops_144(500, 375))
    True
    """
    return crops_144(width, height, input_size, rules)[12:24]


def vgg_150(
    width: int, height: int, input_size: int = PAPER_INPUT_SIZE, rules: Rules = RULES
) -> tuple[Crop, ...]:
    """Return the crops of VGG's multi-crop evaluation (1409.1556, section 3.2).

    They are 3 scales x 5x5 grid x 2 mirrors, on the whole scaled image.

    >>> len(set(vgg_150(500, 375)))
    150
    """
    crops = []
    for scale in (s * input_size // PAPER_INPUT_SIZE for s in VGG_SCALES):
        right, bottom = (side - input_size for side in scaled_size(width, height, scale, rules))
        grid = [
            (right * i // (VGG_GRID - 1), bottom * j // (VGG_GRID - 1))
            for j in range(VGG_GRID)
            for i in range(VGG_GRID)
        ]
        crops += [
            Crop(scale, x, y, input_size, mirrored) for x, y in grid for mirrored in (False, True)
        ]
    return tuple(crops)
