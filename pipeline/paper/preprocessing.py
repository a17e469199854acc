"""How pixels enter a network. Configs import this file, so it needs no torch."""

from typing import Literal, NamedTuple

ChannelOrder = Literal["rgb", "bgr"]


class Preprocessing(NamedTuple):
    """How a pixel enters a network: (value in 0..255 - mean) / std.

    The channels of the input, of `mean` and of `std` have the order `channel_order`.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: ChannelOrder = "rgb"


# paper, section 5: "RGB color channels with mean subtraction"; the figures are
# ImageNet's usual mean and deviation. The division is ours: Kaiming's initialisation
# assumes inputs of unit variance.
PREPROCESSING = Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
# from Caffe's train_val.prototxt, in OpenCV's order of the channels
CAFFE_PREPROCESSING = Preprocessing(
    mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), channel_order="bgr"
)
