"""Photometric distortions of training patches.

Pillow distorts patches one by one; torch distorts a whole batch on the device.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

from pipeline.paper.augmentation import ENHANCEMENTS, Distortion

ENHANCERS = {
    "contrast": ImageEnhance.Contrast,
    "brightness": ImageEnhance.Brightness,
    "colour": ImageEnhance.Color,
}
GREY = (0.299, 0.587, 0.114)  # Pillow's weights of R, G, B (ITU-R 601)


def distort(pixels_HWC: np.ndarray, distortion: Distortion) -> np.ndarray:
    """Return one patch (height x width x 3, uint8), distorted."""
    image = Image.fromarray(pixels_HWC)
    for name, factor in distortion.enhancements:
        image = ENHANCERS[name](image).enhance(factor)
    shifted = np.asarray(image, np.float32) + 255 * np.asarray(distortion.shift, np.float32)
    return shifted.round().clip(0, 255).astype(np.uint8)


def as_row(distortion: Distortion) -> Sequence[float]:
    """Return a distortion as numbers that travel with its patch.

    The numbers are the index and the factor of each enhancement, in order, then the
    shift of R, G, B.
    """
    enhancements = [(ENHANCEMENTS.index(name), factor) for name, factor in distortion.enhancements]
    return [value for pair in enhancements for value in pair] + list(distortion.shift)


def distort_batch(pixels_NHWC: Tensor, rows_NP: Tensor) -> Tensor:
    """Return a batch, distorted: N x height x width x 3, uint8.

    `rows_NP` holds a row of `as_row` for each patch. The result rounds as
    Pillow does and is within a grey level of `distort`, except where Pillow rounds the
    weights of R, G, B in another way.
    """
    x = pixels_NHWC.float()
    weights = _grey_on(x.device)
    *pairs, shift_N3 = rows_NP.to(x.dtype).split([2] * len(ENHANCEMENTS) + [3], dim=1)
    for pair in pairs:
        which, factor = (column.view(-1, 1, 1, 1) for column in pair.unbind(1))
        grey = (x @ weights).round()[..., None]
        start = torch.where(which == ENHANCEMENTS.index("colour"), grey, 0.0)
        start = torch.where(
            which == ENHANCEMENTS.index("contrast"),
            grey.mean((1, 2, 3), keepdim=True).round(),
            start,
        )
        x = (start + factor * (x - start)).clamp(0, 255).floor()
    shifted: Tensor = x + 255 * shift_N3[:, None, None]
    return shifted.round().clamp(0, 255).to(torch.uint8)


@cache
def _grey_on(device: torch.device) -> Tensor:
    """Copy the weights to a device, once: each copy waits for the device."""
    return torch.tensor(GREY, device=device)
