"""Measurements that users can repeat: our code beside what people usually write,
interleaved in one run.
"""
