"""Recipes of GoogLeNet's successors: the fields of a training, each `paper` (section)
or `ours` (reason). None was run on ImageNet by us.
"""

from pipeline.configs.network import NetworkConfig, PixelConfig
from pipeline.configs.other_network import OtherNetwork
from pipeline.configs.prepare import ILSVRC2012_IMAGES, PrepareConfig
from pipeline.configs.train import TrainConfig

# ours: TensorFlow's Inceptions take pixels from -1 to 1
INCEPTION_PIXELS = PixelConfig(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
IMAGES = ILSVRC2012_IMAGES["train"]


def inception_v2(data: PrepareConfig, num_epochs: float = 2.1e6 * 32 / IMAGES) -> TrainConfig:
    """A stand-in for BN-Inception, trained as BN-x5 (1502.03167, section 4.2).

    The network is GoogLeNet with batch norm and two 3x3 convolutions for each 5x5
    (7,292,264 parameters without heads). The paper's has other filter counts, one more
    module, pools by strides, and 13.6 million parameters: its figures are no claims on
    this one.

    paper: batches of 32, the rate 0.0075, neither dropout nor local response norm, a
    fifth of the weight decay, a rate that falls six times as fast, fewer photometric
    distortions, 2.1 million steps (Fig. 3: those to Inception's accuracy). ours: what a
    fifth and six times are taken of (Caffe's decay; GoogLeNet's 4 % every 8 epochs), no
    distortions at all, heads as GoogLeNet's.
    """
    return TrainConfig(
        data=data,
        network=NetworkConfig(norm="batch", fives="two_3x3", dropout=0.0, aux_dropout=0.0),
        num_epochs=num_epochs,
        global_batch_size=32,
        learning_rate=0.0075,
        schedule="exponential",
        decay_factor=0.96,
        decay_epochs=8 / 6,
        weight_decay=2e-4 / 5,
        photometric=False,
    )


def inception_v3(data: PrepareConfig, num_epochs: float = 100) -> TrainConfig:
    """Inception-v3 by timm, trained as in 1512.00567 (section 8).

    paper: 299 px, 100 epochs, 50 replicas with batches of 32, RMSProp with decay 0.9
    and epsilon 1, the rate 0.045 that falls to 94 % every two epochs, gradients clipped
    at 2, an average of the weights, labels smoothed by 0.1 (section 7), an auxiliary
    head with batch norm (section 4).

    ours: the replicas' batches make one step (the paper's are asynchronous, or does not
    say); RMSProp's momentum 0.9, the weight decay 4e-5, the head's weight 0.4, dropout
    0.2 and pixels from -1 to 1 are those of TensorFlow's own code; distortions as
    GoogLeNet's; the average covers as many images as the usual 0.9999 at 32 images.
    """
    batch = 50 * 32
    return TrainConfig(
        data=data,
        network=OtherNetwork.of("timm:inception_v3", 299, ("aux",), aux_logits=True, drop_rate=0.2),
        pixels=INCEPTION_PIXELS,
        num_epochs=num_epochs,
        global_batch_size=batch,
        learning_rate=0.045,
        schedule="exponential",
        decay_factor=0.94,
        decay_epochs=2,
        optimizer="timm:rmsproptf",
        optimizer_arguments=(("alpha", 0.9), ("eps", 1.0)),
        momentum=0.9,
        weight_decay=4e-5,
        clip_norm=2.0,
        label_smoothing=0.1,
        aux_weight=0.4,
        averaging_decay=round(0.9999 ** (batch / 32), 6),
        photometric=True,
    )


def resnet50(data: PrepareConfig, num_epochs: float = 6e5 * 256 / IMAGES) -> TrainConfig:
    """ResNet-50 by torchvision, trained as in 1512.03385 (section 3.4).

    paper: batches of 256, the rate 0.1, momentum 0.9, weight decay 1e-4, 600,000 steps,
    no dropout. ours: the rate falls to a tenth every 30 epochs, where the authors wait
    until the error no longer falls; patches are GoogLeNet's, where theirs are of a
    shorter side of 256 to 480; the average of the weights is beside theirs, and `raw`
    weights are what they evaluated; torchvision puts the stride on the 3x3 convolution.
    """
    return TrainConfig(
        data=data,
        network=OtherNetwork.of("torchvision:resnet50", 224),
        num_epochs=num_epochs,
        global_batch_size=256,
        learning_rate=0.1,
        schedule="exponential",
        decay_factor=0.1,
        decay_epochs=30,
        momentum=0.9,
        weight_decay=1e-4,
        bias_decay=1.0,
        averaging_decay=round(0.9999 ** (256 / 32), 6),
        photometric=True,
    )
