"""The crops of an image."""

import numpy as np
from PIL import Image

from pipeline.configs.crops import CropsConfig
from pipeline.errors import InputError
from pipeline.images.planes import plane_of, planes_of
from pipeline.paper.policies import CROPS


def crops(
    image: Image.Image | np.ndarray,
    policy: str = "crops_144",
    input_size: int = 224,
    rules: CropsConfig | None = None,
) -> np.ndarray:
    """Return the crops of an image as the paper cuts them (section 7).

    Args:
        image: a picture, or its RGB bytes (height x width x 3, uint8).
        policy: crops_1, crops_2, crops_10, crops_36, crops_72, crops_108, crops_144 or
            vgg_150.
        input_size: side of a crop in pixels; 224 in the paper.
        rules: what the paper leaves open; the default is what `going-deeper evaluate`
            does.

    Returns:
        Pixels of N x side x side x 3, uint8, in the paper's order. Equal crops, as a
        square image has them, are all there.

    Raises:
        InputError: there is no such policy, or the array is no image.
    """
    if policy not in CROPS:
        raise InputError(f"policy {policy}: expected one of {', '.join(CROPS)}")
    if not isinstance(image, np.ndarray | Image.Image):
        raise InputError(
            f"image: a {type(image).__name__}; expected a picture, such as PIL.Image.open(path)"
        )
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(
                f"image: an array of {image.shape}, {image.dtype}; expected height x width x 3,"
                " uint8"
            )
        image = Image.fromarray(image)
    config, picture = rules or CropsConfig(), image.convert("RGB")
    windows = CROPS[policy](picture.width, picture.height, input_size, config.rules)
    planes = planes_of(
        np.array(picture),
        dict.fromkeys(plane_of(crop, input_size) for crop in windows),
        input_size,
        config,
    )
    pixels = np.empty((len(windows), input_size, input_size, 3), np.uint8)
    for number, crop in enumerate(windows):
        plane = plane_of(crop, input_size)
        left, top = (0, 0) if plane.side else (crop.left, crop.top)
        window = planes[plane][top : top + input_size, left : left + input_size]
        pixels[number] = window[:, ::-1] if crop.mirrored else window
    return pixels
