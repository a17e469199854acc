"""The launcher and the sites: the only folder that knows SLURM."""
