"""Networks at work: load them, make them fast, and classify images.

Networks are ours, timm's, torchvision's, Caffe's or a user's.
"""
