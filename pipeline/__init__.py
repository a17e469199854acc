"""GoogLeNet, reproduced: from raw images to a verdict on every published number.

After `import pipeline`, `timm.create_model("googlenet")` works, whichever of the two is imported first.
"""

from pipeline.models.timm_entry import register_with_timm

register_with_timm()
