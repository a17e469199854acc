"""GoogLeNet's shape, and the precision in which it computes."""

from typing import Literal

from pydantic import Field

from pipeline.configs.base import Frozen

Precision = Literal["fp32", "bf16"]


class NetworkConfig(Frozen):
    """GoogLeNet's shape; the defaults are the paper's network.

    paper/googlenet.py describes the options.
    """

    # ours: so that all crops lie on whole pixels
    input_size: int = Field(default=224, ge=42, multiple_of=14)
    width: float = Field(default=1.0, gt=0, le=4)
    aux_heads: tuple[Literal["4a", "4d"], ...] = ("4a", "4d")
    dropout: float = Field(default=0.4, ge=0, lt=1)
    conv1: Literal["dense", "separable"] = "dense"
    modules: Literal["reduced", "naive"] = "reduced"
    norm: Literal["lrn", "batch", "none"] = "lrn"
    head: Literal["average", "fully_connected"] = "average"
