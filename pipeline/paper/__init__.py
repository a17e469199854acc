"""What the paper says, as pure functions and figures.

Nothing here depends on files, on the environment or on the time of day.
"""
