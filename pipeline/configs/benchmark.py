"""A measurement of speed."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field

from pipeline.configs.base import StageConfig
from pipeline.configs.network import MOST_WIDTH, Precision
from pipeline.configs.optimizer import MOST_WORKERS
from pipeline.configs.other_network import MOST_PIXELS
from pipeline.configs.train import MOST_IMAGES

# the contenders of `benchmark evaluate`
ContenderGroup = Literal["naive", "careful", "torch", "onnxruntime", "openvino", "ours"]
CONTENDER_GROUPS: tuple[ContenderGroup, ...] = get_args(ContenderGroup)


class BenchmarkConfig(StageConfig):
    """A measurement of speed. Running it again measures again."""

    stage: ClassVar[str] = "benchmark"
    room: ClassVar[str] = "benchmarks"
    last_file: ClassVar[str] = "benchmark.json"
    artifact_type: ClassVar[str] = "benchmark"
    resources: ClassVar[frozenset[str]] = frozenset({"path"})
    version: Literal[1] = 1
    what: Literal["evaluate", "prepare", "scaling", "selftest", "train"]
    """The command that is timed."""
    input_size: int = Field(default=224, ge=42, le=MOST_PIXELS, multiple_of=14)
    """Side of the input, in pixels."""
    rounds: int = Field(default=7, gt=0, le=10_000)  # ours: a day, at some ten seconds each
    """Turns of each contender."""
    num_images: int = Field(default=4, gt=0, le=1_000_000)  # ours: as many as ImageNet has
    """Photographs that are taken."""
    path: Path | None = None
    """Folder of photographs."""
    device: Literal["cpu", "cuda"] = "cpu"
    """A core of this machine, or its first GPU."""
    width: float = Field(default=1.0, gt=0, le=MOST_WIDTH)
    """Factor on the network's channels."""
    only: tuple[ContenderGroup, ...] = ()
    """Groups of contenders that are timed; all if there are none."""


class ScalingConfig(BenchmarkConfig):
    """A measurement of a training step on several numbers of ranks."""

    what: Literal["scaling"] = "scaling"
    """The command that is timed."""
    precision: Precision = "bf16"
    """Number format of the arithmetic."""
    compiled: bool = False
    """Run the network through torch.compile."""
    ranks: tuple[Annotated[int, Field(gt=0, le=MOST_WORKERS)], ...] = Field(min_length=1)
    """Numbers of ranks, each measured by itself."""
    batches: tuple[Annotated[int, Field(gt=0, le=MOST_IMAGES)], ...] = Field(min_length=1)
    """Images of each rank in a step."""
    peers: bool = True
    """Also time torchvision's GoogLeNet and a network of timm, compiled and not."""
    site: str = Field(default="", max_length=64)
    """The site whose nodes were measured; empty for this machine."""
