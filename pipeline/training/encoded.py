"""Training patches that a device decodes and cuts: the loader draws and sends bytes."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pipeline.images import decode as images
from pipeline.images import on_device
from pipeline.images.patches import box_of
from pipeline.paper.augmentation import INTERPOLATIONS, Patch


class Encoded(NamedTuple):
    """Files of images, one behind the other (uint8), and for each image its row of
    `as_row`, its label and its distortions.
    """

    content: Tensor
    rows_NP: Tensor
    labels_N: Tensor
    distortions_NP: Tensor


def encode(content: bytes, draw: Callable[[int, int], Patch]) -> tuple[Tensor, Tensor]:
    """Return an image's file as a tensor, and the patch that `draw(width, height)`
    chooses as a row of numbers.

    Raises:
        BadImage: the bytes are not a usable image.
    """
    width, height, _ = images.look(content)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8), as_row(
        draw(width, height), len(content)
    )


def as_row(patch: Patch, num_bytes: int) -> Tensor:
    """Return a patch as numbers, behind the length of its file."""
    place = INTERPOLATIONS.index(patch.interpolation)
    return torch.tensor([num_bytes, *patch._replace(interpolation=place)])  # type: ignore[arg-type]


def patch_of(row: Sequence[int]) -> Patch:
    """Return the patch of a row.

    >>> patch = Patch(1, 2, 30, 40, "area", True)
    >>> patch_of(as_row(patch, 500).tolist()) == patch
    True
    """
    left, top, width, height, place, mirrored, warped = row[1:]
    return Patch(left, top, width, height, INTERPOLATIONS[place], bool(mirrored), warped)


def cut(encoded: Encoded, size: int, device: torch.device) -> Tensor:
    """Return the patches of images as pixels on a device: N x size x size x 3, uint8.

    Raises:
        BadImage: one is not a usable image.
    """
    rows = encoded.rows_NP.tolist()
    files = encoded.content.split([row[0] for row in rows])
    pixels = on_device.decode([file.numpy().tobytes() for file in files], device)
    return torch.stack(
        [_cut(image, patch_of(row), size) for image, row in zip(pixels, rows, strict=True)]
    )


def _cut(pixels: Tensor, patch: Patch, size: int) -> Tensor:
    left, top, right, bottom = box = box_of(patch)
    if patch.warped:
        whole = (0, 0, pixels.shape[1], pixels.shape[0])
        square = on_device.resize(pixels, whole, patch.warped, patch.warped, patch.interpolation)
        pixels = square[top:bottom, left:right]
    else:
        pixels = on_device.resize(pixels, box, size, size, patch.interpolation)
    return pixels.flip(1) if patch.mirrored else pixels
