"""GoogLeNet, reproduced: from raw images to a verdict on every published number.
Importing this alone does nothing else.
"""
