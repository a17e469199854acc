"""The launcher and the sites: the only package that knows SLURM."""
