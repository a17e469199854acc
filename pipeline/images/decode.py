"""Pixels: decoding image files, and scaling them for test-time crops (Pillow; torch if
a config says so).
"""

import base64
import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from pipeline.configs.evaluate import CropsConfig
from pipeline.paper.crops import Crop, scaled_size

MAX_PIXELS = 89_478_485  # ours: Pillow's own threshold for a warning of a decompression bomb
MAX_BYTES = 256 * 2**20  # ours: of a file; it is held in memory
# ours: Pillow reads more, some through other programs
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
THUMBNAIL_PIXELS = 160
END_OF_JPEG = b"\xff\xd9"
# ours: a strip grows to a huge image when its shorter side is scaled up to a crop's
MAX_ASPECT = 100
KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "cubic": Image.Resampling.BICUBIC,
}


class BadImage(Exception):
    """The bytes are not an image that can be used; the message says why."""


def header(encoded: bytes) -> Image.Image:
    """The image with its size and mode known, and no pixel decoded yet: decoding
    (`convert`, `load`) still raises anything.

    Raises:
        BadImage: the bytes are empty, no image, claim too many pixels, or are several
            images. Nothing large is allocated before.
    """
    if not encoded:
        raise BadImage("empty file")
    # for all of the process: the size is checked here, before any pixel is decoded, and
    # Pillow's own error would not say it
    Image.MAX_IMAGE_PIXELS = None
    with _said_as_bad_image():
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        refuse_size(image.width, image.height)
        if image.format == "TIFF":
            tile = [int(image.tag_v2.get(tag, 1)) for tag in (322, 323)]  # type: ignore[attr-defined]  # its width and height
            if tile[0] * tile[1] > MAX_PIXELS:  # a tile may be larger than the image
                raise BadImage(
                    f"claims tiles of {tile[0]}x{tile[1]} pixels, more than {MAX_PIXELS}"
                )
        # MPO: a photograph with a preview behind it
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise BadImage(f"is animated or has several pages ({image.format}); expected one image")
    if image.mode.startswith(("I", "F")) or _bits(image, encoded) > 8:
        raise BadImage(
            f"has pixels of mode {image.mode}, {_bits(image, encoded)} bits a channel; expected 8"
        )
    return image


def _bits(image: Image.Image, encoded: bytes) -> int:
    """Of a channel, where a format has more than 8 and Pillow would cut them off
    without a word.
    """
    if image.format == "PNG":
        return encoded[24]
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (1,)))  # type: ignore[attr-defined,no-any-return]
    return {"I": 32, "F": 32}.get(image.mode[0], 8) if "16" not in image.mode else 16


def look(encoded: bytes) -> tuple[int, int, bool]:
    """Width, height, and whether simplejpeg can decode the image; what is odd, CMYK
    too, is for Pillow to judge.

    Raises:
        BadImage: as `header`.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        image = header(encoded)
        return image.width, image.height, False
    refuse_size(width, height)
    return width, height, colours in ("YCbCr", "RGB", "Gray")


def inspect(encoded: bytes, is_known: bool = False, may_be_cut: bool = False) -> tuple[int, int]:
    """Width and height of an image, after all of it has been decoded without complaint.

    Of a JPEG, libjpeg's strict decoder at an eighth of the size reads every bit. If
    that finds no more data, the rest would be
    grey: such an image is bad, unless it `may_be_cut`, as one of the validation set,
    which is classified however it looks. What it doubts otherwise is for Pillow to
    judge. If the bytes are known to be good (`is_known`), the header and the end of a
    JPEG are enough.

    Raises:
        BadImage: as `decode`, or it is truncated.
    """
    width, height, is_jpeg = look(encoded)
    if is_jpeg:
        if is_known and encoded.endswith(END_OF_JPEG):
            return width, height
        try:
            simplejpeg.decode_jpeg(encoded, "GRAY", min_height=1, min_width=1, min_factor=8)
            return width, height
        except ValueError as error:
            if "premature end" in str(error).lower() and not may_be_cut:
                raise BadImage(f"truncated: {error}") from None
    return decode(encoded).size


def refuse_size(width: int, height: int) -> None:
    """Raise BadImage if an image of this size would take too much memory, decoded or
    scaled.
    """
    if width * height > MAX_PIXELS:
        raise BadImage(f"claims {width}x{height} pixels, more than {MAX_PIXELS}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadImage(f"is {width}x{height}, more than {MAX_ASPECT} times as long as wide")


def decode(encoded: bytes) -> Image.Image:
    """Decode to RGB; the EXIF orientation is ignored, as every classic ImageNet
    pipeline does.

    Raises:
        BadImage: as `header`, or the image is truncated or damaged.
    """
    image = header(encoded)
    with _said_as_bad_image():
        return image.convert("RGB")


def shrink(encoded: bytes, shorter_side: int, quality: int) -> bytes | None:
    """The image as a JPEG of this shorter side; None if it is no larger than that.

    Raises:
        BadImage: as `decode`.
    """
    image = decode(encoded)
    scale = shorter_side / min(image.size)
    if scale >= 1:
        return None
    file = io.BytesIO()
    image.resize((round(image.width * scale), round(image.height * scale)), KERNELS["cubic"]).save(
        file, "JPEG", quality=quality
    )
    return file.getvalue()


def thumbnail(encoded: bytes) -> str:
    """A small JPEG of the whole image, in base64, for a page.

    Raises:
        BadImage: as `decode`.
    """
    image = decode(encoded)
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()


@contextmanager
def _said_as_bad_image() -> Iterator[None]:
    """Decoders raise nearly anything on damaged files."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF and the like; the pixels are fine
            yield
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
    except Exception as error:
        raise BadImage(f"cannot be decoded: {error or type(error).__name__}") from None


class Plane(NamedTuple):
    """What crops are views of: the image at a scale, or, where `side` is not 0, one of
    its squares at the input size.
    """

    scale: int
    left: int = 0
    top: int = 0
    side: int = 0


def plane_of(crop: Crop, input_size: int) -> Plane:
    """The plane that a crop is a view of."""
    return (
        Plane(crop.scale)
        if crop.side == input_size
        else Plane(crop.scale, crop.left, crop.top, crop.side)
    )


def planes(
    image: Image.Image, wanted: Iterable[Plane], input_size: int, config: CropsConfig
) -> dict[Plane, np.ndarray]:
    """The wanted planes of an image, each height x width x 3, uint8. The image is
    resized once per scale.
    """
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
            square = pixels[
                plane.top : plane.top + plane.side, plane.left : plane.left + plane.side
            ]
            pixels = resize(square, input_size, input_size, kernel)
        found[plane] = pixels
    return found


def _pil_resize(pixels: np.ndarray, width: int, height: int, kernel: str) -> np.ndarray:
    # a copy: torch wants it writable
    return np.array(Image.fromarray(pixels).resize((width, height), KERNELS[kernel]))


def _torch_resize(pixels: np.ndarray, width: int, height: int, kernel: str) -> np.ndarray:
    import torch  # imported late: preparation does not need it

    name, _, aliased = kernel.partition("_")
    # a view, channels last: torch's fast path for bytes
    batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    mode = {"bilinear": "bilinear", "cubic": "bicubic"}[name]
    resized = torch.nn.functional.interpolate(
        batch, size=(height, width), mode=mode, antialias=not aliased
    )
    found: np.ndarray = resized[0].permute(1, 2, 0).numpy()
    return found
