"""Patches and distortions: the fast ways against Pillow's."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.configs.patches import PatchConfig
from pipeline.images import decode as images
from pipeline.images import patches
from pipeline.images.distortions import as_row, distort, distort_batch
from pipeline.images.patches import cut_patch
from pipeline.paper.augmentation import (
    INTERPOLATIONS,
    Distortion,
    Patch,
    stream,
    training_distortion,
    training_patch,
)
from pipeline.runtime import native

PILLOW = PatchConfig(resize="pil")


def photograph(width: int = 300, height: int = 200, mode: str = "RGB") -> Image.Image:
    """Return a smooth, coloured image with edges."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack(
        [128 + 100 * np.sin(x / 17) * np.cos(y / 11), 255 * (x > y), 255 * x / width], axis=2
    )
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def always(patch: Patch) -> Callable[[int, int], Patch]:
    return lambda width, height: patch


@pytest.mark.parametrize(
    ("interpolation", "levels"), [("nearest", 0), ("bilinear", 2), ("cubic", 2)]
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_as_pillow_cuts(interpolation: str, levels: int, mirrored: bool) -> None:
    """The border is left out: there Pillow's filter also reads the image beyond the
    patch.
    """
    for left, top, width, height in (
        (0, 0, 300, 200),
        (31, 7, 120, 160),
        (250, 150, 20, 31),
        (5, 6, 96, 96),
    ):
        draw = always(Patch(left, top, width, height, interpolation, mirrored))
        ours, pillows = (
            cut_patch(encoded(photograph()), draw, 96, config) for config in (PatchConfig(), PILLOW)
        )
        assert ours.shape == (96, 96, 3)
        difference = (ours.int() - pillows.int()).abs()
        border = 0 if interpolation == "nearest" else 12
        assert difference[border : 96 - border, border : 96 - border].max() <= levels
        assert difference.float().mean() < 1


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([14, 42, 64]), st.integers(0, 2**31))
def test_area_is_the_mean_of_what_a_pixel_covers(
    height: int, width: int, size: int, seed: int
) -> None:
    """Both ways against exact sums: the image is repeated until each output pixel
    covers whole pixels.
    """
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    fine = pixels.repeat(size, axis=0).repeat(size, axis=1).astype(np.float64)
    exact = fine.reshape(size, height, size, width, 3).mean((1, 3))
    # rows that are apart
    window = np.pad(pixels, ((1, 2), (3, 1), (0, 0)))[1 : 1 + height, 3 : 3 + width]
    small = patches.resize_area(window, size)
    assert np.abs(small.numpy() - exact).max() <= 0.5 + 1e-3


def test_area_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.array(photograph())
    fast = patches.resize_area(pixels, 96)
    monkeypatch.setattr(native, "library", lambda *_: "no compiler")
    slow = patches.resize_area(pixels, 96)
    assert (fast.int() - slow.int()).abs().max() <= 1
    assert (fast != slow).float().mean() < 1e-3


@pytest.mark.parametrize(
    "content",
    [
        encoded(photograph(), "PNG"),
        encoded(photograph(mode="RGBA"), "PNG"),
        encoded(photograph(mode="P"), "GIF"),
        encoded(photograph(mode="L"), "JPEG"),
        encoded(photograph(mode="CMYK"), "JPEG"),
        encoded(photograph(), "JPEG", progressive=True),
        encoded(photograph(), "JPEG", subsampling=0),
    ],
    ids=["png", "rgba", "gif", "grey", "cmyk", "progressive", "444"],
)
def test_every_kind_of_file_is_decoded_as_pillow_does(content: bytes) -> None:
    draw = always(Patch(0, 0, 300, 200, "nearest", False))
    assert torch.equal(
        cut_patch(content, draw, 64, PatchConfig()), cut_patch(content, draw, 64, PILLOW)
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<html>", "not an image"),
        (encoded(photograph())[:2000], "cannot be decoded"),
        (encoded(photograph())[:-2], "cannot be decoded"),
        (encoded(photograph(2000, 10)), "is 2000x10, more than 100 times as long as wide"),
    ],
    ids=["empty", "html", "truncated", "no end", "strip"],
)
def test_what_cannot_be_used_says_why(content: bytes, reason: str) -> None:
    for config in (PatchConfig(), PILLOW, PatchConfig(scaled_decoding=True)):
        with pytest.raises(images.BadImage, match=reason):
            cut_patch(content, always(Patch(0, 0, 8, 8, "area", False)), 4, config)


@pytest.mark.parametrize("resize", ["torch", "pil"])
def test_scaled_decoding_cuts_the_same_place(resize: str) -> None:
    """A scaled image is a little smoother: it differs by some levels on average. Small
    patches are cut from the whole image, bit for bit.
    """
    full, scaled = (
        PatchConfig.model_validate({"resize": resize, "scaled_decoding": s}) for s in (False, True)
    )
    content = encoded(photograph(900, 700), quality=95)
    for seed in range(40):

        def draw(width: int, height: int, seed: int = seed) -> Patch:
            assert (width, height) == (900, 700)
            return training_patch(stream(seed), width, height)

        one, other = (cut_patch(content, draw, 112, config).int() for config in (full, scaled))
        patch = draw(900, 700)
        if min(patch.width, patch.height) < 2 * 112:
            assert torch.equal(one, other)
        elif patch.interpolation != "nearest":
            assert (one - other).abs().float().mean() < 3


def test_distortions_change_pixels_as_they_say() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    same = distort(
        pixels,
        Distortion((("contrast", 1.0), ("brightness", 1.0), ("colour", 1.0)), (0.0, 0.0, 0.0)),
    )
    assert np.array_equal(same, pixels)
    darker = distort(pixels, Distortion((("brightness", 0.5),), (0.0, 0.0, 0.0)))
    assert np.abs(darker - pixels / 2).max() <= 1
    redder = distort(pixels, Distortion((), (10 / 255, 0.0, 0.0)))
    assert np.array_equal(redder[..., 0], np.minimum(pixels[..., 0].astype(int) + 10, 255))
    assert np.array_equal(redder[..., 1:], pixels[..., 1:])


def test_a_batch_is_distorted_as_its_patches_are() -> None:
    """Each patch has its own distortion."""
    noise = np.random.default_rng(1).integers(0, 256, (15, 30, 40, 3))
    pixels = np.concatenate([np.asarray(photograph(40, 30))[None], noise]).astype(np.uint8)
    drawn = [training_distortion(stream("distortion", k)) for k in range(len(pixels))]
    batch = distort_batch(
        torch.from_numpy(pixels), torch.tensor([as_row(distortion) for distortion in drawn])
    )
    for k, distortion in enumerate(drawn):
        difference = np.abs(batch[k].numpy().astype(int) - distort(pixels[k], distortion))
        assert difference.max() <= 2
        assert difference.mean() < 0.05
    assert set(INTERPOLATIONS) == {"nearest", "area", *patches.TORCH_MODES}
