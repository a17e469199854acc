"""Weights & Biases mirrors the files: tracker, upload of offline runs, workspace, report."""
