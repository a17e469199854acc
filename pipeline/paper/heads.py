"""What stands on GoogLeNet's maps beside average pooling (paper, section 5)."""

from collections import OrderedDict

from torch import Tensor, nn

from pipeline.paper.inception import scaled
from pipeline.paper.layers import ConvReLU

AUX_DROPOUT = 0.7  # paper, section 5


class AuxiliaryHead(nn.Module):
    """An auxiliary head (paper, section 5), which runs only in training.

    It has a 5x5/3 average pool, a 1x1 convolution and two fully connected layers.
    `grid` is the side of the incoming map: 14 at 224 pixels. Where it is below 5, the
    pool's window has that side (`ours`).
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        grid: int,
        width: float,
        batch_norm: bool = False,
        dropout: float = AUX_DROPOUT,
    ):
        super().__init__()
        window = min(5, grid)
        side = (grid - window) // 3 + 1
        hidden = scaled(1024, width)
        self.pool = nn.AvgPool2d(window, 3)
        self.conv = ConvReLU(in_channels, scaled(128, width), 1, batch_norm=batch_norm)
        self.fc = nn.Linear(scaled(128, width) * side * side, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x)).flatten(1)
        logits: Tensor = self.classifier(self.dropout(self.relu(self.fc(x))))
        return logits


class FullyConnectedHead(nn.Sequential):
    """The fully connected head that average pooling replaced (paper, section 5).

    The replacement gained about 0.6 points of top-1. The paper does not describe this
    head; like an auxiliary head it has a hidden layer of 1024 units with ReLU (`ours`).
    """

    def __init__(self, in_channels: int, grid: int, hidden: int):
        fc = nn.Linear(in_channels * grid * grid, hidden)
        super().__init__(OrderedDict(flatten=nn.Flatten(), fc=fc, relu=nn.ReLU(inplace=True)))
