"""The launcher and the sites: the only room that knows SLURM."""
