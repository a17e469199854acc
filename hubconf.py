"""`torch.hub.load("OWNER/going-deeper", "googlenet", num_classes=1000)`: the network of Table 1, weights not included."""

from pipeline.adapters.timm_registry import googlenet as googlenet

dependencies = ["torch"]
