"""A real SLURM cluster of four nodes on this machine, one for all tests."""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from slurm.cluster import Cluster, missing_programs

STUDY = """
from pathlib import Path
from pipeline.study import *

def experiment(data: Path | None = None, members: int = 2, epochs: float = 4, width: float = 0.125, rate: float = 0.01):
    images = PrepareConfig(source="imagefolder", name="colours", path=data)
    base = TrainConfig(data=images, network=NetworkConfig(input_size=42, width=width), num_epochs=epochs, global_batch_size=8,
                       clip_norm=1.0, validate_every_epochs=10, checkpoint_every_seconds=2)
    runs = [base.but(data_seed=seed, learning_rate=rate if seed == 1 else 0.01) for seed in range(members)]
    evaluated = tuple(EvaluateConfig(data=images, classifier=run, images_per_chunk=1) for run in runs)
    return Study(name="tiny", title="A tiny study", check=CheckConfig(results=table3(evaluated)))
"""
SITE = """
cluster = "slurm"
slurm_partition = "main"
slurm_signal_delay_s = {delay}
[prepare]
mem_gb = 1
array = {array}
timeout_min = 10
[train]
nodes = {nodes}
mem_gb = 1
timeout_min = {minutes}
[evaluate]
mem_gb = 1
array = {array}
timeout_min = 10
[report]
mem_gb = 1
timeout_min = 10
"""


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if missing := missing_programs():
        reason = f"not installed: {', '.join(missing)} (Debian: slurmctld slurmd slurm-client munge)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    made = Cluster(folder)
    before = dict(os.environ)
    os.environ.update(made.environment())
    try:
        made.up()
        yield made
    finally:
        made.down()
        os.environ.clear()
        os.environ.update(before)
        left = made.process_ids()
        shutil.rmtree(folder)
        assert not left


@pytest.fixture
def hurry(cluster: Cluster) -> Iterator[None]:
    """Requeued jobs start after 10 s rather than SLURM's 121; sooner, the end of the old run races with the new one."""
    stop, since = threading.Event(), dict[str, float]()

    def loop() -> None:
        while not stop.wait(0.5):
            listed = cluster.run("squeue", "--noheader", "--array", "--states=PENDING", "--format=%i %r").stdout.splitlines()
            waiting = [line.split()[0] for line in listed if line.endswith("BeginTime")]
            for job_id in waiting:
                if time.monotonic() - since.setdefault(job_id, time.monotonic()) >= 10:
                    cluster.run("scontrol", "update", f"JobId={job_id}", "StartTime=now")
                    del since[job_id]

    thread = threading.Thread(target=loop)
    thread.start()
    yield
    stop.set()
    thread.join()


@pytest.fixture
def study_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.py"
    path.write_text(STUDY)
    return path


def write_site(folder: Path, nodes: int = 1, array: int = 1, minutes: int = 10, delay: int = 90) -> Path:
    """A site file for the cluster."""
    path = folder / "site.toml"
    path.write_text(SITE.format(nodes=nodes, array=array, minutes=minutes, delay=delay))
    return path
