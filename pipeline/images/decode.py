"""Decode image files, and refuse files that are not usable images."""

import base64
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import simplejpeg
from PIL import Image, ImageFile, UnidentifiedImageError

MAX_PIXELS = 89_478_485  # ours: at this size Pillow warns of a decompression bomb
MAX_BYTES = 256 * 2**20  # ours: the largest file, as memory holds it whole
# ours: Pillow reads more formats, some of them through other programs
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
THUMBNAIL_PIXELS = 160
END_OF_JPEG = b"\xff\xd9"
# ours: a thin image becomes huge when its shorter side is scaled up to a crop's side
MAX_ASPECT = 100
KERNELS = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "cubic": Image.Resampling.BICUBIC,
}


class BadImage(Exception):
    """The bytes are not a usable image; the message says why."""


def header(encoded: bytes) -> Image.Image:
    """Open an image: its size and mode are known, and no pixel is decoded yet.

    Decoding (`convert`, `load`) can still raise any exception.

    Raises:
        BadImage: the bytes are empty, are no image, claim too many pixels, or hold
            several images. The check allocates no large memory.
    """
    if not encoded:
        raise BadImage("empty file")
    # Pillow's own limit is off for the whole process: this function checks the size
    # before any pixel is decoded, and its error names the size
    Image.MAX_IMAGE_PIXELS = None
    with _errors_as_bad_image():
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        refuse_size(image.width, image.height)
        if image.format == "TIFF":
            tile = [int(image.tag_v2.get(tag, 1)) for tag in (322, 323)]  # type: ignore[attr-defined]  # its width and height
            if tile[0] * tile[1] > MAX_PIXELS:  # a tile can be larger than its image
                raise BadImage(
                    f"claims tiles of {tile[0]}x{tile[1]} pixels, more than {MAX_PIXELS}"
                )
        # an MPO file is a photograph followed by its preview
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise BadImage(f"is animated or has several pages ({image.format}); expected one image")
        if image.mode.startswith(("I", "F")) or _bits(image) > 8:
            raise BadImage(
                f"has pixels of mode {image.mode}, {_bits(image)} bits a channel; expected 8"
            )
    return image


def _bits(image: ImageFile.ImageFile) -> int:
    """Return the bits of one channel. Pillow would cut more than 8 to 8 silently."""
    if image.format == "PNG" and ";16" in str(image.tile[0][3]):  # how its bytes are read
        return 16
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (1,)))  # type: ignore[attr-defined,no-any-return]
    return {"I": 32, "F": 32}.get(image.mode[0], 8) if "16" not in image.mode else 16


def look(encoded: bytes) -> tuple[int, int, bool]:
    """Return the width, the height, and whether simplejpeg can decode the image.

    Pillow decodes all other images, for instance CMYK.

    Raises:
        BadImage: for the reasons of `header`.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(encoded)
    except ValueError:
        image = header(encoded)
        return image.width, image.height, False
    refuse_size(width, height)
    return width, height, colours in ("YCbCr", "RGB", "Gray")


def inspect(encoded: bytes, is_known: bool = False, may_be_cut: bool = False) -> tuple[int, int]:
    """Decode the whole image as a check, and return its width and height.

    libjpeg's strict decoder reads every bit of a JPEG, at an eighth of the size. If the
    data ends too early, the rest of the image would be grey: the image is bad, unless
    it `may_be_cut`. A validation image may be cut, because it is classified anyway.
    Pillow decides about every other doubt. If the bytes are known to be good
    (`is_known`), the header and the end of a JPEG are enough.

    Raises:
        BadImage: for the reasons of `decode`, or the image is truncated.
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
    """Raise BadImage if an image of this size would take too much memory."""
    if width * height > MAX_PIXELS:
        raise BadImage(f"claims {width}x{height} pixels, more than {MAX_PIXELS}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise BadImage(f"is {width}x{height}, more than {MAX_ASPECT} times as long as wide")


def decode(encoded: bytes) -> Image.Image:
    """Decode an image to RGB.

    The EXIF orientation is ignored, as in every classic ImageNet pipeline.

    Raises:
        BadImage: for the reasons of `header`, or the image is truncated or damaged.
    """
    image = header(encoded)
    with _errors_as_bad_image():
        return image.convert("RGB")


def shrink(encoded: bytes, shorter_side: int, quality: int) -> bytes | None:
    """Return the image as a JPEG of this shorter side; None if it is not larger.

    Raises:
        BadImage: for the reasons of `decode`.
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
    """Return a small JPEG of the whole image, in base64, for a page.

    Raises:
        BadImage: for the reasons of `decode`.
    """
    image = decode(encoded)
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()


@contextmanager
def _errors_as_bad_image() -> Iterator[None]:
    """Turn every error of a decoder into BadImage; damaged files cause nearly any."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd EXIF data and the like; the pixels are fine
            yield
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
    except Exception as error:
        raise BadImage(f"cannot be decoded: {error or type(error).__name__}") from None
