"""Pixels: decode images, scale them, cut training patches, distort patches."""
