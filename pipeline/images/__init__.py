"""Pixels: decoding, scaled images, training patches, distortions."""
