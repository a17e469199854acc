"""What the paper says, as pure functions and figures: no files, no environment, no
clock.
"""
