"""Scale images for test-time crops, by Pillow or, if a config says so, by torch, on the
host or on a device.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np
from PIL import Image

from pipeline.configs.crops import CropsConfig
from pipeline.images.decode import KERNELS
from pipeline.paper.crops import Crop, scaled_size

if TYPE_CHECKING:
    from torch import Tensor

Raster = Union[np.ndarray, "Tensor"]  # height x width x 3, uint8, of the host or of a device


class Plane(NamedTuple):
    """The pixels that crops are views of.

    A plane is the image at a scale or, where `side` is not 0, a square of the scaled
    image, resized to the input size.
    """

    scale: int
    left: int = 0
    top: int = 0
    side: int = 0


def plane_of(crop: Crop, input_size: int) -> Plane:
    """Return the plane that a crop is a view of."""
    return (
        Plane(crop.scale)
        if crop.side == input_size
        else Plane(crop.scale, crop.left, crop.top, crop.side)
    )


def planes_of(
    original: Raster, selection: Iterable[Plane], input_size: int, config: CropsConfig
) -> dict[Plane, Raster]:
    """Return a selection of an image's planes, where the image itself is.

    The image is resized once per scale.
    """
    library, kernel = config.resize.split("_", 1)
    resize: Callable[[Any, int, int, str], Raster] = (
        _device_resize
        if config.decode_on == "device"
        else _pil_resize
        if library == "pil"
        else _torch_resize
    )
    scaled: dict[int, Raster] = {}

    def at_scale(scale: int) -> Raster:
        if scale not in scaled:
            height, width = original.shape[:2]
            width, height = scaled_size(width, height, scale, config.rules)
            scaled[scale] = resize(original, width, height, kernel)
        return scaled[scale]

    pixels_of_plane: dict[Plane, Raster] = {}
    for plane in selection:
        pixels = at_scale(plane.scale)
        if plane.side:
            square = pixels[
                plane.top : plane.top + plane.side, plane.left : plane.left + plane.side
            ]
            pixels = resize(square, input_size, input_size, kernel)
        pixels_of_plane[plane] = pixels
    return pixels_of_plane


def _pil_resize(pixels: np.ndarray, width: int, height: int, kernel: str) -> np.ndarray:
    # a copy, because torch needs a writable array
    return np.array(Image.fromarray(pixels).resize((width, height), KERNELS[kernel]))


def _torch_resize(pixels: np.ndarray, width: int, height: int, kernel: str) -> np.ndarray:
    import torch  # imported late, because preparation does not need it

    name, _, aliased = kernel.partition("_")
    # a channels-last view takes torch's fast path for bytes
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    mode = {"bilinear": "bilinear", "cubic": "bicubic"}[name]
    resized = torch.nn.functional.interpolate(
        batch, size=(height, width), mode=mode, antialias=not aliased
    )
    scaled: np.ndarray = resized[0].permute(1, 2, 0).numpy()
    return scaled


def _device_resize(pixels: "Tensor", width: int, height: int, kernel: str) -> "Tensor":
    from pipeline.images import on_device  # late, as torch above

    name, _, aliased = kernel.partition("_")
    box = (0, 0, pixels.shape[1], pixels.shape[0])
    return on_device.resize(pixels, box, width, height, name, bool(aliased))
