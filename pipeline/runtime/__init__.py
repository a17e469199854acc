"""Processes and what they are granted: ranks, pools, signals, environment, native
builds, progress.
"""
