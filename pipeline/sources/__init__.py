"""Where images come from: one file for each source, one registry, and the shards that
they become.
"""
