"""Pixels: decoding image files and cutting patches and crops out of them (Pillow).

All resizing is Pillow's antialiased kernel; test-time crops use the bilinear one (`ours`: the paper does not say).
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance, UnidentifiedImageError

from pipeline.paper.augmentation import Distortion, Patch
from pipeline.paper.crops import Crop, scaled_size

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


def cut_crops(image: Image.Image, crops: Sequence[Crop], size: int) -> np.ndarray:
    """Test-time crops, each size x size: K x size x size x 3, uint8.

    The image is resized once per scale and each window is cut once; a mirrored crop is its window, flipped.
    """
    scaled: dict[int, Image.Image] = {}
    windows: dict[Crop, np.ndarray] = {}
    for crop in crops:
        window = crop._replace(mirrored=False)
        if window in windows:
            continue
        if crop.scale not in scaled:
            target = scaled_size(image.width, image.height, crop.scale)
            scaled[crop.scale] = image.resize(target, Image.Resampling.BILINEAR)
        cut = scaled[crop.scale].crop((crop.left, crop.top, crop.left + crop.side, crop.top + crop.side))
        windows[window] = np.asarray(cut if crop.side == size else cut.resize((size, size), Image.Resampling.BILINEAR))
    pixels = np.empty((len(crops), size, size, 3), np.uint8)
    for k, crop in enumerate(crops):
        window_pixels = windows[crop._replace(mirrored=False)]
        pixels[k] = window_pixels[:, ::-1] if crop.mirrored else window_pixels
    return pixels
