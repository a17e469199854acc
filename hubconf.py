"""`torch.hub.load("OWNER/going-deeper", "googlenet", num_classes=1000)`: the network of
Table 1, weights not included.
"""

from pipeline.models.timm_entry import googlenet

__all__ = ["dependencies", "googlenet"]
dependencies = ["torch"]
