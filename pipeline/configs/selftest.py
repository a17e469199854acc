"""A self-test of one machine: which device, how many ranks, how long."""

from typing import Literal, get_args

from pydantic import Field

from pipeline.configs.benchmark import BenchmarkConfig
from pipeline.configs.optimizer import MOST_WORKERS

Group = Literal["network", "crops", "training", "stages", "ranks", "compiled", "speed"]
GROUPS: tuple[Group, ...] = get_args(Group)


class SelftestConfig(BenchmarkConfig):
    """A test that a device computes what the CPU computes, and how fast it is."""

    what: Literal["selftest"] = "selftest"
    """The command that is timed."""
    device: Literal["cpu", "cuda"]
    """What is tested: this machine's cores, or its GPUs."""
    ranks: int = Field(gt=0, le=MOST_WORKERS)
    """Ranks that share a training: one a GPU, or some on the CPU."""
    groups: tuple[Group, ...] = Field(default=GROUPS, min_length=1)
    """The groups of checks that are run."""
    minutes: float = Field(default=8.0, gt=0, le=10_000)  # ours: a lease of ten, with its start
    """No check begins after so many minutes."""
    rounds: int = Field(default=3, gt=0, le=10_000)  # ours: a benchmark here is a short one
    """Turns of each contender."""
    num_images: int = Field(default=2, gt=0, le=1_000_000)
    """Photographs that are taken."""
