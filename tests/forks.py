"""Processes that start at once: forks of a server that has imported what trains."""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pipeline.stages.train", "pandas"])  # pyarrow imports pandas as it reads the first column
