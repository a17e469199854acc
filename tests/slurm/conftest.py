"""A real SLURM cluster of eight nodes on this machine, one for all tests of a
worker.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slurm.cluster import Cluster
from slurm.cluster_folder import missing_programs

# its module is for the jobs' Python, and a machine may have one of that name
collect_ignore = ["slow_steps"]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running_cluster(nodes=8) as real_cluster:
        yield real_cluster


@contextmanager
def running_cluster(nodes: int, lines: str = "", gres: str = "") -> Iterator[Cluster]:
    """A cluster of this machine; SLURM's commands speak to it within the block."""
    if missing := missing_programs():
        reason = (
            f"not installed: {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)"
        )
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    # one core: who kills a node kills one job
    real_cluster = Cluster(folder, nodes=nodes, cores=1, node_timeout=5, lines=lines)
    if gres:
        (folder / "gres.conf").write_text(gres)
    before = dict(os.environ)
    os.environ.update(real_cluster.environment())
    try:
        real_cluster.up()
        yield real_cluster
    finally:
        real_cluster.down()
        os.environ.clear()
        os.environ.update(before)
        left = real_cluster.process_ids()
        shutil.rmtree(folder)
        assert not left
