"""Weights & Biases, a mirror of the files: tracker, upload, workspace and report."""
