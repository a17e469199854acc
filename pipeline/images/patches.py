"""Training patches: cut a drawn patch from a file's bytes, at the input size.

Nothing here is random. The default, `torch`, is `ours`, for speed. simplejpeg decodes
JPEGs to the same pixels as Pillow. torch resizes bilinear and cubic patches within two
grey levels of Pillow, which also reads pixels beyond a patch's border. Area means the
same as in TensorFlow: the mean of the box that a pixel covers. Pillow's box takes whole
pixels only.
"""

import ctypes
import math
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from pipeline.configs.patches import PatchConfig
from pipeline.images import decode as images
from pipeline.paper.augmentation import Patch
from pipeline.runtime import native

TORCH_MODES = {"bilinear": "bilinear", "cubic": "bicubic"}
_SIGNATURES = (
    ("resize_area", (ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p, ctypes.c_int64)),
)


def cut_patch(
    encoded: bytes, draw: Callable[[int, int], Patch], size: int, config: PatchConfig
) -> Tensor:
    """Return the patch that `draw(width, height)` chooses: size x size x 3, uint8.

    The patch is resized and mirrored as the draw says.

    Raises:
        BadImage: the bytes are not a usable image.
    """
    width, height, is_jpeg = images.look(encoded)
    patch = draw(width, height)
    # the patch keeps at least `size` pixels a side
    shrink = (
        min(width, height) / patch.warped if patch.warped else min(patch.width, patch.height) / size
    )
    if is_jpeg and config.scaled_decoding and shrink >= 2:
        pixels = _decode(encoded, True, math.ceil(width / shrink), math.ceil(height / shrink))
        if not patch.warped:
            patch = _on_grid(patch, pixels.shape[1] / width, pixels.shape[0] / height)
    else:
        pixels = _decode(encoded, is_jpeg)
    resize = _pil_resize if config.resize == "pil" else _torch_resize
    left, top, right, bottom = box = box_of(patch)
    if patch.warped:
        whole = (0, 0, pixels.shape[1], pixels.shape[0])
        cut = resize(pixels, whole, patch.warped, patch.interpolation)[top:bottom, left:right]
    else:
        cut = resize(pixels, box, size, patch.interpolation)
    return cut.flip(1) if patch.mirrored else cut.contiguous()


def box_of(patch: Patch) -> tuple[int, int, int, int]:
    """Return the left, top, right and bottom of a patch."""
    return patch.left, patch.top, patch.left + patch.width, patch.top + patch.height


def _decode(encoded: bytes, is_jpeg: bool, min_width: int = 0, min_height: int = 0) -> np.ndarray:
    """Return the image's pixels, height x width x 3, uint8.

    With minima, a JPEG comes at half, a quarter or an eighth of its sides where that is
    enough.
    """
    if is_jpeg:
        with suppress(ValueError):  # of a damaged file: Pillow decodes it, or says why not
            pixels: np.ndarray = simplejpeg.decode_jpeg(
                encoded, min_width=min_width, min_height=min_height, min_factor=2
            )
            return pixels
    return np.array(images.decode(encoded))


def _on_grid(patch: Patch, across: float, down: float) -> Patch:
    """Return the patch in whole pixels of the image whose sides were scaled."""
    left, top = round(patch.left * across), round(patch.top * down)
    right, bottom = (
        round((patch.left + patch.width) * across),
        round((patch.top + patch.height) * down),
    )
    return patch._replace(left=left, top=top, width=right - left, height=bottom - top)


def _pil_resize(
    pixels: np.ndarray, box: tuple[int, int, int, int], size: int, interpolation: str
) -> Tensor:
    """Resize a box of an image (height x width x 3) to size x size x 3, by Pillow."""
    resized = Image.fromarray(pixels).resize((size, size), images.KERNELS[interpolation], box=box)
    return torch.from_numpy(np.array(resized))


def _torch_resize(
    pixels: np.ndarray, box: tuple[int, int, int, int], size: int, interpolation: str
) -> Tensor:
    """Resize a box of an image to size x size x 3, by torch.

    Our own C++ computes the mean of areas.
    """
    left, top, right, bottom = box
    window = pixels[top:bottom, left:right]
    if interpolation == "area":
        return resize_area(window, size)
    values = torch.from_numpy(window)
    if interpolation == "nearest":
        return nearest(values, size, size)
    batch = values.permute(2, 0, 1)[None]  # a channels-last view takes the fast path
    resized = F.interpolate(
        batch, size=(size, size), mode=TORCH_MODES[interpolation], antialias=True
    )
    return resized[0].permute(1, 2, 0)


def resize_area(window: np.ndarray, size: int) -> Tensor:
    """Resize a window to a square: each pixel is the mean of the box that it covers.

    Pixels at a box's border count by their overlap. Matrices do the same where C++
    cannot be built.
    """
    height, width, _ = window.shape
    library = area_library()
    if isinstance(library, str):
        return mean_areas(torch.from_numpy(window), size, size).add(0.5).floor().to(torch.uint8)
    if window.strides[1:] != (3, 1):
        window = np.ascontiguousarray(window)
    square = torch.empty(size, size, 3, dtype=torch.uint8)
    library.resize_area(
        window.ctypes.data, window.strides[0], height, width, square.data_ptr(), size
    )
    return square


def area_library() -> ctypes.CDLL | str:
    """Return the C++ library of `resize_area`, or the reason why there is none."""
    return native.library("pipeline.images", "area.cpp", _SIGNATURES)


def nearest(pixels_HWC: Tensor, height: int, width: int) -> Tensor:
    """Resize pixels, on whatever device: each is the nearest one."""
    rows, columns = (
        _nearest_places(n, size).to(pixels_HWC.device)
        for n, size in zip(pixels_HWC.shape, (height, width), strict=False)
    )
    return pixels_HWC.index_select(0, rows).index_select(1, columns)


def mean_areas(pixels_HWC: Tensor, height: int, width: int) -> Tensor:
    """Resize pixels, on whatever device: each is the mean of its box, float32."""
    rows, columns = (
        _box_weights(n, size).to(pixels_HWC.device)
        for n, size in zip(pixels_HWC.shape, (height, width), strict=False)
    )
    by_row = torch.tensordot(rows, pixels_HWC.float(), 1)
    return torch.einsum("jw,iwc->ijc", columns, by_row)


def _nearest_places(n: int, size: int) -> Tensor:
    """Return which of n input pixels is nearest to each of `size` output pixels."""
    return ((torch.arange(size, dtype=torch.float64) + 0.5) * (n / size)).long()


def _box_weights(n: int, size: int) -> Tensor:
    """Return the share of input pixel k in output pixel i (size x n)."""
    edges, pixels = np.arange(size + 1) * n / size, np.arange(n)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: np.ndarray = np.clip(overlap, 0, None) * (size / n)
    return torch.from_numpy(weights.astype(np.float32))
