"""Loader processes: how they start by device, with the same batches, and how they
end.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import pytest
import torch

from pipeline.artefacts.dataset import Split
from pipeline.benchmarks.turns import photograph_shard
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.training import loader
from pipeline.training.loader import Batch, start_method, training_batches
from tests.forks import members

CPU = torch.device("cpu")
CONFIG = TrainConfig.model_validate(
    {
        "data": PrepareConfig(source="imagefolder", name="any"),
        "num_epochs": 1,
        "network": {"input_size": 42},
        "global_batch_size": 6,
        "photometric": True,
    }
)
KILLED = """
import sys, torch
from pathlib import Path
from pipeline.artefacts.dataset import Split
from pipeline.training import loader
from tests.training.test_loader import CONFIG
if __name__ == "__main__":
    loader.start_method = lambda device: sys.argv[2]
    batches = loader.training_batches(
        CONFIG, Split([Path(sys.argv[1])]), range(10**6), 0, 1, 2, torch.device("cpu")
    )
    next(batches)
    print("begun", flush=True)
    while True:
        next(batches)
"""


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photograph_shard(tmp_path_factory.mktemp("shard"), None, 2)


def test_a_gpu_has_a_server_of_processes() -> None:
    """A fork of a process that has begun CUDA or NCCL would lack their threads."""
    assert start_method(torch.device("cuda")) == "forkserver"
    assert start_method(CPU) == "fork"


@pytest.mark.processes
def test_batches_do_not_tell_how_processes_start(
    shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def batches(method: str, workers: int) -> list[Batch]:
        monkeypatch.setattr(loader, "start_method", lambda device: method)
        stream: Generator[Batch] = training_batches(
            CONFIG, Split([shard]), range(5), 0, 1, workers, CPU
        )
        with closing(stream):
            return list(stream)

    expected = batches("fork", 0)
    for method in ("fork", "forkserver"):
        for one, other in zip(expected, batches(method, 2), strict=True):
            assert all(map(torch.equal, one, other)), method


@pytest.mark.processes
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_processes_end_with_a_killed_rank(shard: Path, method: str) -> None:
    script = subprocess.Popen(
        [sys.executable, "-c", KILLED, shard, method],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
    )
    assert script.stdout is not None
    assert script.stdout.readline() == "begun\n"
    script.send_signal(signal.SIGKILL)
    script.wait()
    script.stdout.close()
    deadline = time.monotonic() + 20
    while left := members(script.pid):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
