"""The statistics of claims, as pure functions: label ranks (numpy alone), tests and
intervals, power, smaller ensembles.
"""
