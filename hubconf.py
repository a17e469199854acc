"""`torch.hub.load("OWNER/going-deeper", "googlenet", num_classes=1000)`: the network of
Table 1, weights not included.
"""

from typing import Any

from pipeline.paper.googlenet import GoogLeNet

dependencies = ["torch"]


def googlenet(pretrained: bool = False, num_classes: int = 1000, **options: Any) -> GoogLeNet:
    """Return the GoogLeNet of Table 1; `options` are those of `GoogLeNet`.

    Raises:
        ValueError: the call sets `pretrained`; there are no published weights.
    """
    if pretrained:
        raise ValueError(
            "googlenet: no pretrained weights are published; load your own with load_state_dict"
        )
    return GoogLeNet(num_classes, **options)
