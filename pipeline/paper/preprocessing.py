"""How pixels enter a network. No torch: configs know it."""

from typing import Literal, NamedTuple

ChannelOrder = Literal["rgb", "bgr"]


class Preprocessing(NamedTuple):
    """How a pixel enters a network: (value in 0..255 - mean) / std, with the channels
    in this order, those of mean and std too.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channel_order: ChannelOrder = "rgb"


# paper, section 5: "RGB color channels with mean subtraction"; the figures are
# ImageNet's usual mean and deviation. Dividing by the deviation is ours: it gives the
# unit variance that Kaiming's initialisation assumes.
PREPROCESSING = Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
# Caffe's train_val.prototxt; in OpenCV's order of the channels
CAFFE_PREPROCESSING = Preprocessing(
    mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), channel_order="bgr"
)
