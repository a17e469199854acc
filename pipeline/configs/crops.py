"""How test-time crops are cut."""

from typing import Literal

from pydantic import Field, model_validator

from pipeline.configs.base import Frozen
from pipeline.paper.crops import Aspect, Centre, LongSide, Rules, TenCrops, WholeSquare

Resize = Literal[
    "pil_bilinear",
    "pil_cubic",
    "pil_area",
    "torch_bilinear",
    "torch_cubic",
    "torch_bilinear_aliased",
    "torch_cubic_aliased",
]


class CropsConfig(Frozen):
    """How crops are cut where the paper does not say; the options are described in
    paper/policies.py.

    `resize` names library and kernel: Pillow's, which always antialiases and gives the
    same bytes on every machine, or torch's, three times as fast and within one grey
    level of Pillow's where it antialiases too. `decode_on` the device frees the host,
    with other last bits (images/on_device.py).
    """

    long_side: LongSide = Field(default="floor", description="Rounding of the longer side.")
    centre: Centre = Field(default="floor", description="Rounding of a centre's offset.")
    whole_square: WholeSquare = Field(
        default="scaled", description="What the resized squares are resized from."
    )
    ten_crops: TenCrops = Field(
        default="central_square", description="Where the corners of crops_10 lie."
    )
    aspect: Aspect = Field(
        default="kept", description="Whether scaled images keep theirs, or become squares."
    )
    resize: Resize = Field(
        default="pil_bilinear", description="Library and kernel."
    )  # ours: the usual kernel
    decode_on: Literal["host", "device"] = Field(
        default="host", description="Where JPEGs are decoded and resized; a device is a GPU."
    )

    @model_validator(mode="after")
    def _has_one_decoder(self) -> "CropsConfig":
        if self.decode_on == "device" and not self.resize.startswith("torch_"):
            raise ValueError(
                f"decode_on device with resize {self.resize}: a device resizes by torch; expected"
                " torch_bilinear or another of torch"
            )
        return self

    @property
    def rules(self) -> Rules:
        """The geometry alone."""
        return Rules(**self.model_dump(exclude={"resize", "decode_on"}))
