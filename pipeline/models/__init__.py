"""What runs a network: loading (ours, timm's, torchvision's, Caffe's, a user's), the
engine, operators, classification.
"""
