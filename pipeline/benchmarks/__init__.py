"""Measurements that users can repeat: ours beside what people usually write,
interleaved in one run.
"""
