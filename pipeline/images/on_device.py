"""Decode and resize images on a device, in place of the host's processors.

What differs from the host, so that it is an option with a name: a GPU decodes JPEGs
with NVIDIA's decoder, whose pixels differ by a few grey levels from libjpeg's, which
the host uses; and pixels are resized in float32 and rounded once, within two grey
levels of torch's bytes on the host, or four where cubic (tests/images). Nearest pixels
and mirrors are exact. Files that are no plain JPEG, or that are cut, are decoded by the
host as always. Damage inside a file, which preparation looks for, is not looked for
again.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.images import decode as images
from pipeline.images.patches import TORCH_MODES, mean_areas, nearest

Box = tuple[int, int, int, int]  # left, top, right, bottom


def decode(encoded: Sequence[bytes], device: torch.device) -> list[Tensor]:
    """Return images as pixels on a device, each height x width x 3, uint8.

    Raises:
        BadImage: one is not a usable image.
    """
    decoded: list[Tensor | None] = [None] * len(encoded)
    plain = [
        k
        for k, content in enumerate(encoded)
        if images.look(content)[2] and content.endswith(images.END_OF_JPEG)
    ]
    for k, pixels in zip(plain, _jpegs([encoded[k] for k in plain], device), strict=True):
        decoded[k] = pixels
    return [
        _by_host(content, device) if pixels is None else pixels
        for content, pixels in zip(encoded, decoded, strict=True)
    ]


def _jpegs(encoded: Sequence[bytes], device: torch.device) -> list[Tensor | None]:
    """Decode JPEGs all at once, or, where one is damaged, each alone: None for those
    that the device does not decode.
    """
    if not encoded:
        return []
    from torchvision.io import ImageReadMode, decode_jpeg  # late: few need it

    contents = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in encoded]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is to move to torchcodec (torchvision 0.29)
            decoded = decode_jpeg(contents, ImageReadMode.RGB, device)
    except RuntimeError:
        if len(encoded) == 1:
            return [None]
        return [_jpegs([content], device)[0] for content in encoded]
    return [pixels.permute(1, 2, 0) for pixels in decoded]


def _by_host(content: bytes, device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(images.decode(content))).to(device)


def resize(
    pixels_HWC: Tensor, box: Box, width: int, height: int, kernel: str, aliased: bool = False
) -> Tensor:
    """Resize a box of an image, uint8, to height x width x 3, uint8.

    `kernel` is `nearest`, `area`, `bilinear` or `cubic`.
    """
    left, top, right, bottom = box
    window = pixels_HWC[top:bottom, left:right]
    if kernel == "nearest":
        return nearest(window, height, width)
    if kernel == "area":
        values = mean_areas(window, height, width)
    else:
        values = F.interpolate(
            window.float().permute(2, 0, 1)[None],
            size=(height, width),
            mode=TORCH_MODES[kernel],
            antialias=not aliased,
        )[0].permute(1, 2, 0)
    return values.add(0.5).floor_().clamp_(0, 255).to(torch.uint8)
