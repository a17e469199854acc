"""A network's shape, how pixels enter it, and the precision in which it computes."""

import hashlib
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from pipeline.configs.base import Frozen
from pipeline.configs.other_network import MOST_PIXELS, SHA256, OtherNetwork
from pipeline.errors import InputError
from pipeline.paper.crops import Aspect
from pipeline.paper.preprocessing import PREPROCESSING, ChannelOrder, Preprocessing

# tf32 is fp32 whose convolutions and products round their factors to 10 bits; fp16 and
# bf16 are mixed with fp32 as autocast does. tf32 and fp16 need a CUDA GPU.
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
Channels = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]
Divisors = tuple[Positive, Positive, Positive]
LARGEST = 256  # ours: some networks divide by it
NOTE = "going_deeper"  # the entry of a file's metadata
MOST_WIDTH = 4.0  # ours: sixteen times the weights of the paper's network


class NetworkConfig(Frozen):
    """GoogLeNet's shape; the defaults are the paper's network.

    paper/googlenet.py describes the options.
    """

    # paper, section 5; ours: a multiple of 14, so that all crops lie on whole pixels
    input_size: int = Field(default=224, ge=42, le=MOST_PIXELS, multiple_of=14)
    """Side of the input, in pixels."""
    width: float = Field(default=1.0, gt=0, le=MOST_WIDTH)
    """Factor on the number of channels of every layer."""
    aux_heads: tuple[Literal["4a", "4d"], ...] = ("4a", "4d")
    """The modules that have an auxiliary classifier in training."""
    dropout: float = Field(default=0.4, ge=0, lt=1)
    """Share of the units that the main classifier drops."""
    aux_dropout: float = Field(default=0.7, ge=0, lt=1)
    """Share of the units that an auxiliary classifier drops."""
    conv1: Literal["dense", "separable"] = "dense"
    """The first convolution: dense, or depthwise and then across channels."""
    modules: Literal["reduced", "naive"] = "reduced"
    """Inception modules with 1x1 reductions, or without (naive)."""
    fives: Literal["5x5", "two_3x3"] = "5x5"
    """The 5x5 convolutions, or two of 3x3 for each, as BN-Inception has."""
    norm: Literal["lrn", "batch", "none"] = "lrn"
    """Local response normalisation, batch normalisation, or none."""
    head: Literal["average", "fully_connected"] = "average"
    """What stands before the classifier: average pooling, or a connected layer."""

    @property
    def arch(self) -> str:
        """Name the network for people."""
        return "googlenet"

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the auxiliary outputs in training, shallow first."""
        return self.aux_heads


AnyNetwork = NetworkConfig | OtherNetwork


class PixelConfig(Frozen):
    """How a pixel enters the network: (value in 0..255 - mean) / std.

    `channel_order` is the order of the channels, and of mean and std.
    """

    mean: Channels = PREPROCESSING.mean
    """Subtracted from a pixel of 0 to 255, a number for each channel."""
    std: Divisors = PREPROCESSING.std
    """Divides the pixel after that, a number for each channel."""
    channel_order: ChannelOrder = PREPROCESSING.channel_order
    """The order of the channels, and of `mean` and `std`."""

    @field_validator("mean")
    @classmethod
    def _mean_is_of_bytes(cls, mean: Channels) -> Channels:
        if all(value <= 1 for value in mean) and any(mean):
            raise ValueError(f"is of pixels in 0..1; of pixels in 0..255 it is {_times_255(mean)}")
        if max(mean) > LARGEST:
            raise ValueError("is beyond all pixels, which are 0..255")
        return mean

    @field_validator("std")
    @classmethod
    def _std_is_of_bytes(cls, std: Channels) -> Channels:
        if all(value < 1 for value in std):  # a std of 1 divides nothing
            raise ValueError(f"is of pixels in 0..1; of pixels in 0..255 it is {_times_255(std)}")
        if max(std) > LARGEST:
            raise ValueError("is beyond all pixels, which are 0..255")
        return std

    @property
    def preprocessing(self) -> Preprocessing:
        """The pixel values as the network takes them."""
        return Preprocessing(self.mean, self.std, self.channel_order)


class InitialWeights(Frozen):
    """A file of weights that a training begins with, in place of a draw.

    models/beginning.py says which files fit, and what is drawn all the same.
    """

    resources: ClassVar[frozenset[str]] = frozenset({"path"})
    path: Path
    """Where the file lies on this machine."""
    sha256: str = Field(pattern=SHA256)
    """Digest of its content."""
    key: str | None = Field(default=None, min_length=1)
    """Which set of weights, where the file holds several."""

    @classmethod
    def of(cls, path: Path, key: str | None = None) -> "InitialWeights":
        """Return the config of a file, with its digest.

        Raises:
            InputError: there is no such file.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such file of weights")
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(path=path, sha256=sha256, key=key)


class WeightsNote(Frozen):
    """What a file of our weights says of itself, so that others load it right.

    `are_best` says that they are those of the lowest validation error.
    """

    network: AnyNetwork
    """The network."""
    pixels: PixelConfig = PixelConfig()
    """How a pixel enters it."""
    aspect: Aspect = "kept"
    """Whether training images kept their proportions, or became squares."""
    are_best: bool = False
    """The weights were chosen by their validation error."""

    @property
    def metadata(self) -> dict[str, str]:
        """The note as the metadata of a safetensors file."""
        # safetensors writes several entries in any order; equal weights are equal
        # bytes, wherever the code of a network lies
        return {NOTE: self.model_dump_json(exclude={"network": {"code"}})}


def _times_255(values: Channels) -> str:
    return ",".join(f"{255 * value:g}" for value in values)
