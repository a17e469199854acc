"""Processes and what they use: ranks, pools, signals, environment, devices, builds."""
