"""The self-test of a machine: its device beside the CPU, and its speed."""
