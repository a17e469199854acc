"""The statistics of claims, as pure functions.

They are label ranks, tests and intervals, power, chance and smaller ensembles.
"""
