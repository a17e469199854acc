"""How training patches become pixels."""

from typing import Literal

from pydantic import model_validator

from pipeline.configs.base import Frozen


class PatchConfig(Frozen):
    """How training patches become pixels, where the paper does not say; described in
    images/patches.py and distortions.py.

    `scaled_decoding` decodes a JPEG at a half, a quarter or an eighth where the patch
    still has as many pixels as the input: faster where photographs are large beside the
    input, and a little smoother. `distort_on` the device frees the loader from the
    photometric distortions. `decode_on` the device frees it from the rest, too, with
    other last bits (images/on_device.py).
    """

    resize: Literal["torch", "pil"] = "torch"  # ours: three times as fast
    """The library that resizes patches."""
    scaled_decoding: bool = False
    """Decode large JPEGs at a half, a quarter or an eighth."""
    distort_on: Literal["loader", "device"] = "loader"
    """Where photometric distortions are computed."""
    decode_on: Literal["loader", "device"] = "loader"
    """Where JPEGs are decoded and patches resized; a device is a GPU."""

    @model_validator(mode="after")
    def _has_one_decoder(self) -> "PatchConfig":
        if self.decode_on == "device" and (self.resize != "torch" or self.scaled_decoding):
            raise ValueError(
                "decode_on device: decodes whole and resizes by torch; expected resize torch and"
                " scaled_decoding false"
            )
        return self
