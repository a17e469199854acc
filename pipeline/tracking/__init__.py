"""Weights & Biases: the tracker, upload of offline runs, workspace and report. A mirror
of the files.
"""
