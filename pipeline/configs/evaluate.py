"""An evaluation: which classifier, which crops, how they are cut and averaged."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.configs.base import StageConfig
from pipeline.configs.crops import CropsConfig
from pipeline.configs.network import (
    Channels,
    Divisors,
    NetworkConfig,
    PixelConfig,
    Precision,
)
from pipeline.configs.other_network import MOST_PIXELS, SHA256, Arguments
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.paper.policies import DENSE, KINDS, split_policy

SHA1 = r"^[0-9a-f]{40}$"


def _known_policy(name: str) -> str:
    split_policy(name)
    return name


def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    """Sort policies in the order of paper/policies.py, each once, so that a set of
    policies has one name.
    """
    return tuple(
        sorted(dict.fromkeys(names), key=lambda name: (KINDS.index(split_policy(name)[0]), name))
    )


# names of paper/policies.py, such as crops_144 or crops_144_max
Policy = Annotated[str, AfterValidator(_known_policy)]
Policies = Annotated[tuple[Policy, ...], Field(min_length=1), AfterValidator(_in_order)]
POLICIES = ("crops_1", "crops_10", "crops_144")  # paper, Table 3
# both were ported from TensorFlow: with torchvision's own weights, and only with them,
# they undo the usual scale of the input
TRANSFORMING = ("torchvision:googlenet", "torchvision:inception_v3")


class ForeignConfig(PixelConfig):
    """A classifier that was trained elsewhere, and the preprocessing it was trained
    with.

    `arch` is `googlenet`, `torchvision:NAME`, `timm:NAME`, or `python:FUNCTION` of the
    user's file `code`, which may need no `weights`; a pixel enters as (value in 0..255
    - mean) / std. `weights_key` chooses among several sets of weights in one file.
    `transform_input` is torchvision's, of its googlenet and inception_v3: true for its
    own weights, and for what was trained from these with it.

    A file of ours notes `network` and `are_best`.
    """

    resources: ClassVar[frozenset[str]] = frozenset({"weights", "code"})
    arch: str = Field(pattern=r"^(googlenet|(torchvision|timm|python):[A-Za-z0-9._-]{1,64})$")
    """googlenet, torchvision:NAME, timm:NAME or python:FUNCTION."""
    weights: Path | None = None
    """The file of the weights."""
    sha256: str | None = Field(default=None, pattern=SHA256)
    """Digest of the weights' file."""
    sha1: str | None = Field(default=None, pattern=SHA1)
    """Another digest of it, for weights that were published with one."""
    code: Path | None = None
    """The Python file that defines FUNCTION."""
    code_sha256: str | None = Field(default=None, pattern=SHA256)
    """Digest of that file."""
    input_size: int = Field(default=224, ge=32, le=MOST_PIXELS)
    """Side of the input, in pixels."""
    mean: Channels
    """Subtracted from a pixel of 0 to 255, a number for each channel."""
    std: Divisors
    """Divides the pixel after that, a number for each channel."""
    weights_key: str | None = Field(default=None, min_length=1)
    """Which set of weights, where the file holds several."""
    transform_input: bool | None = None
    """Whether the network undoes the usual scale of its input."""
    network: NetworkConfig | None = None
    """The shape of a GoogLeNet that is not the paper's."""
    arguments: Arguments = ()
    """What another network's function takes beside the number of classes, by name."""
    are_best: bool = False
    """The weights were chosen by their validation error."""

    @model_validator(mode="after")
    def _network_is_ours(self) -> "ForeignConfig":
        if self.network is not None and self.arch != "googlenet":
            raise ValueError(f"arch {self.arch} with a network; only googlenet has one")
        if self.arguments and self.arch == "googlenet":
            raise ValueError("arch googlenet with arguments; its options are those of `network`")
        return self

    @property
    def shape(self) -> NetworkConfig | None:
        """The shape of a GoogLeNet but for its input; None for any other network."""
        return (self.network or NetworkConfig()) if self.arch == "googlenet" else None

    @model_validator(mode="after")
    def _transform_is_clear(self) -> "ForeignConfig":
        if (self.transform_input is None) == (self.arch in TRANSFORMING):
            expected = (
                "expected True for torchvision's own weights, False for those of a training from"
                " nothing"
                if self.transform_input is None
                else f"only {' and '.join(TRANSFORMING)} have it"
            )
            raise ValueError(
                f"arch {self.arch} with transform_input {self.transform_input}; {expected}"
                " (--transform-input, --no-transform-input)"
            )
        return self

    @model_validator(mode="after")
    def _is_whole(self) -> "ForeignConfig":
        is_python = self.arch.startswith("python:")
        for name, path, digest, needed in (
            ("weights", self.weights, self.sha256, not is_python),
            ("code", self.code, self.code_sha256, is_python),
        ):
            if (path is None) != (digest is None) or (needed and path is None):
                raise ValueError(
                    f"arch {self.arch} with {name} {path} and digest {digest}: expected both, or"
                    " neither if not needed"
                )
        if self.weights_key is not None and self.weights is None:
            raise ValueError(f"weights_key {self.weights_key} without weights; expected both")
        if self.code is not None and not is_python:
            raise ValueError(f"arch {self.arch} takes no code; expected python:FUNCTION")
        return self

    @property
    def label(self) -> str:
        """Name the classifier for people."""
        key = f" ({self.weights_key})" if self.weights_key else ""
        return f"{self.arch}, " + (
            f"weights {self.sha256[:12]}{key}"
            if self.sha256
            else f"code {(self.code_sha256 or '')[:12]}"
        )

    @property
    def pixels(self) -> PixelConfig:
        """How a pixel enters, alone."""
        return PixelConfig(mean=self.mean, std=self.std, channel_order=self.channel_order)

    @property
    def files(self) -> tuple[tuple[Path, str, str], ...]:
        """Its files, each with the algorithm of a digest and the digest."""
        digests = (
            (self.weights, "sha256", self.sha256),
            (self.weights, "sha1", self.sha1),
            (self.code, "sha256", self.code_sha256),
        )
        return tuple((path, name, digest) for path, name, digest in digests if path and digest)


class EvaluateConfig(StageConfig):
    """Probabilities of a classifier on the validation images, averaged over crops, for
    several policies at once.

    `compiled` gives other roundings, and is faster after some seconds of compiling.
    """

    stage: ClassVar[str] = "evaluate"
    room: ClassVar[str] = "predictions"
    last_file: ClassVar[str] = "predictions.json"
    has_ranks: ClassVar[bool] = True
    has_parts: ClassVar[bool] = True
    has_job: ClassVar[bool] = True
    artifact_type: ClassVar[str] = "predictions"
    scratch: ClassVar[tuple[str, ...]] = ("chunks",)
    kept: ClassVar[tuple[str, ...]] = ("hits.parquet",)
    resources: ClassVar[frozenset[str]] = frozenset({"images_per_chunk"})
    # 2: local response norm by an operator that rounds once, averages summed in float64
    version: Literal[2] = 2
    data: PrepareConfig
    """The data set; its val split is classified."""
    classifier: TrainConfig | ForeignConfig
    """A training of ours, or a network from elsewhere."""
    # of a run of ours; `best` was chosen on these very images
    weights: Literal["averaged", "raw", "best"] = "averaged"
    """Which weights of a training."""
    policies: Policies = POLICIES
    """Sets of crops, and how they are averaged."""
    crops: CropsConfig = CropsConfig()
    """How crops are cut."""
    precision: Precision = "fp32"
    """Number format of the arithmetic."""
    compiled: bool = False
    """Run the network through torch.compile."""
    # ours: images between two saves, at least
    images_per_chunk: int = Field(default=32, gt=0, le=100_000)
    """Images between two saves, at least."""

    @model_validator(mode="after")
    def _can_be_dense(self) -> "EvaluateConfig":
        if DENSE in self.policies:
            network = self.classifier.shape
            if network is None or network.head != "average":
                raise ValueError(
                    f"policy {DENSE} needs a GoogLeNet with average pooling; choose among those"
                    " with crops"
                )
        return self
