"""Pixels: decoding image files, cutting training patches, scaling for test-time crops (Pillow; torch if a config says so)."""

import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, UnidentifiedImageError

from pipeline.paper.augmentation import Distortion, Patch
from pipeline.paper.crops import Crop, scaled_size
from pipeline.study import CropsConfig

MAX_PIXELS = 89_478_485  # ours: Pillow's own threshold for a warning of a decompression bomb
Image.MAX_IMAGE_PIXELS = None  # this module checks the size itself, before any pixel is decoded
MAX_ASPECT = 100  # ours: a strip grows to a huge image when its shorter side is scaled up to a crop's
KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "cubic": Image.Resampling.BICUBIC,
}
ENHANCERS = {"contrast": ImageEnhance.Contrast, "brightness": ImageEnhance.Brightness, "colour": ImageEnhance.Color}


class BadImage(Exception):
    """The bytes are not an image that can be used; the message says why."""


def decode(encoded: bytes) -> Image.Image:
    """Decode to RGB; the EXIF orientation is ignored, as every classic ImageNet pipeline does.

    Raises:
        BadImage: the bytes are empty, no image, truncated or claim too many pixels. Nothing large is allocated before.
    """
    if not encoded:
        raise BadImage("empty file")
    try:
        image = Image.open(io.BytesIO(encoded))
        if image.width * image.height > MAX_PIXELS:
            raise BadImage(f"claims {image.width}x{image.height} pixels, more than {MAX_PIXELS}")
        if max(image.size) > MAX_ASPECT * min(image.size):
            raise BadImage(f"is {image.width}x{image.height}, longer than {MAX_ASPECT} times its width")
        if image.mode.startswith(("I", "F")):
            raise BadImage(f"has pixels of mode {image.mode}; expected 8 bits a channel")
        return image.convert("RGB")
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
    except BadImage:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise BadImage(f"cannot be decoded: {error}") from None


def cut_patch(image: Image.Image, patch: Patch, size: int) -> np.ndarray:
    """The training patch, resized and mirrored as it says: size x size x 3, uint8."""
    box = (patch.left, patch.top, patch.left + patch.width, patch.top + patch.height)
    pixels = np.asarray(image.resize((size, size), KERNELS[patch.interpolation], box=box))
    return pixels[:, ::-1] if patch.mirrored else pixels


def distort(pixels: np.ndarray, distortion: Distortion) -> np.ndarray:
    """Photometric distortions of a patch (height x width x 3, uint8)."""
    image = Image.fromarray(pixels)
    for name, factor in distortion.enhancements:
        image = ENHANCERS[name](image).enhance(factor)
    shifted = np.asarray(image, np.float32) + 255 * np.asarray(distortion.shift, np.float32)
    return shifted.round().clip(0, 255).astype(np.uint8)


class Plane(NamedTuple):
    """What crops are views of: the image at a scale, or, where `side` is not 0, one of its squares at the input size."""

    scale: int
    left: int = 0
    top: int = 0
    side: int = 0


def plane_of(crop: Crop, input_size: int) -> Plane:
    """The plane that a crop is a view of."""
    return Plane(crop.scale) if crop.side == input_size else Plane(crop.scale, crop.left, crop.top, crop.side)


def planes(image: Image.Image, wanted: Iterable[Plane], input_size: int, config: CropsConfig) -> dict[Plane, np.ndarray]:
    """The wanted planes of an image, each height x width x 3, uint8. The image is resized once per scale."""
    library, kernel = config.resize.split("_", 1)
    resize = _pil_resize if library == "pil" else _torch_resize
    original = np.array(image)
    scaled: dict[int, np.ndarray] = {}

    def at_scale(scale: int) -> np.ndarray:
        if scale not in scaled:
            width, height = scaled_size(image.width, image.height, scale, config.rules)
            scaled[scale] = resize(original, width, height, kernel)
        return scaled[scale]

    found = {}
    for plane in wanted:
        pixels = at_scale(plane.scale)
        if plane.side:
            square = pixels[plane.top : plane.top + plane.side, plane.left : plane.left + plane.side]
            pixels = resize(square, input_size, input_size, kernel)
        found[plane] = pixels
    return found


def _pil_resize(pixels: np.ndarray, width: int, height: int, kernel: str) -> np.ndarray:
    return np.array(Image.fromarray(pixels).resize((width, height), KERNELS[kernel]))  # a copy: torch wants it writable


def _torch_resize(pixels: np.ndarray, width: int, height: int, kernel: str) -> np.ndarray:
    import torch  # imported late: preparation does not need it
    from torch.nn import functional

    name, _, aliased = kernel.partition("_")
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # a view, channels last: torch's fast path for bytes
    mode = {"bilinear": "bilinear", "cubic": "bicubic"}[name]
    resized = functional.interpolate(batch, size=(height, width), mode=mode, antialias=not aliased)
    found: np.ndarray = resized[0].permute(1, 2, 0).numpy()
    return found
