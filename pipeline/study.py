"""What a study is: frozen configs that name each other, one class a stage, and the order of their stages."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.data import NAME
from pipeline.data import PrepareConfig as PrepareConfig
from pipeline.data import ReencodeConfig as ReencodeConfig
from pipeline.options import POLICIES as POLICIES
from pipeline.options import CropsConfig as CropsConfig
from pipeline.options import ForeignConfig as ForeignConfig
from pipeline.options import LocalSGDConfig as LocalSGDConfig
from pipeline.options import NetworkConfig as NetworkConfig
from pipeline.options import PatchConfig as PatchConfig
from pipeline.options import Policies as Policies
from pipeline.options import Policy as Policy
from pipeline.paper.crops import DENSE
from pipeline.stage import Frozen as Frozen
from pipeline.stage import InputError as InputError
from pipeline.stage import StageConfig as StageConfig
from pipeline.stage import StageEnded as StageEnded
from pipeline.stage import StageFailed as StageFailed


class TrainConfig(StageConfig):
    """One training run. Fields without a comment are `paper`, sections 5 and 6.

    `max_device_batch_size` is what fits the memory of a rank: a larger share of the global batch is accumulated. Ranks and
    accumulation change no more than the order of sums and which units dropout drops (and what a batch is to batch norm).
    """

    stage: ClassVar[str] = "train"
    room: ClassVar[str] = "runs"
    last_file: ClassVar[str] = "run.json"
    resources: ClassVar[frozenset[str]] = frozenset(
        {"max_device_batch_size", "checkpoint_every_seconds", "checkpoint_every_steps"}
    )
    version: Literal[3] = 3  # 2: pools and local response norms by an operator; 3: patches resized by torch
    data: PrepareConfig
    network: NetworkConfig = NetworkConfig()
    init: Literal["kaiming", "caffe", "gaussian"] = "kaiming"  # ours: the paper is silent; see paper/initialisation.py
    init_seed: int = 0  # the paper's members share their initial weights ...
    data_seed: int = 0  # ... and differ in sampling and order
    num_epochs: float = Field(gt=0)
    global_batch_size: int = Field(default=32, gt=0)  # ours: Caffe's author reports that the authors used 32
    learning_rate: float = Field(default=0.01, gt=0)  # ours: Caffe's
    schedule: Literal["paper", "cosine", "caffe_quick"] = "paper"
    warmup_epochs: float = Field(default=0.0, ge=0)  # ours: a deep network without batch norm starts badly at full rate
    optimizer: Literal["sgd", "lars"] = "sgd"  # ours: LARS (1708.03888, timm's) is for batches of thousands
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=2e-4, ge=0)  # ours: Caffe's; biases are not decayed
    clip_norm: float | None = Field(default=None, gt=0)  # ours: gradient clipping, off
    local_sgd: LocalSGDConfig | None = None  # ours: off; see options.py
    averaging_decay: float = Field(default=0.9999, ge=0, lt=1)  # ours: Polyak's average as an EMA, Google's later choice
    averaging: Literal["exponential", "equal"] = "exponential"  # ours: the paper does not say which
    averaging_start_epoch: float = Field(default=0.0, ge=0)
    aux_weight: float = Field(default=0.3, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)  # ours: off
    sampling: Literal["inception", "caffe"] = "inception"
    photometric: bool = False  # the paper found Howard's distortions useful "to some extent"
    min_area: float = Field(default=0.08, gt=0, le=1)
    class_balance: float = Field(default=0.0, ge=0, le=1)  # ours: 0 samples images alike, 1 samples classes alike
    patches: PatchConfig = PatchConfig()  # ours; see options.py
    precision: Literal["fp32", "bf16"] = "fp32"
    compiled: bool = False  # torch.compile: other roundings
    max_device_batch_size: int | None = Field(default=None, gt=0)
    validate_every_epochs: float = Field(default=1.0, gt=0)  # ours; the best weights are chosen among these
    checkpoint_every_seconds: float = Field(default=60.0, ge=0)
    checkpoint_every_steps: int | None = Field(default=None, gt=0)

    def refuse_ranks(self, number: int) -> None:
        """Raise InputError if so many ranks cannot train as the config says."""
        if self.local_sgd and self.local_sgd.workers != number:
            raise InputError(f"local_sgd.workers {self.local_sgd.workers} is not the number of ranks, {number}")
        if self.global_batch_size % number:
            raise InputError(f"global_batch_size {self.global_batch_size} cannot be shared equally by {number} ranks")

    @property
    def input_size(self) -> int:
        """Side of the network's input in pixels."""
        return self.network.input_size

    @property
    def label(self) -> str:
        """For people."""
        return f"run {self.hash}"


class EvaluateConfig(StageConfig):
    """Probabilities of a classifier on the validation images, averaged over crops, for several policies at once.

    `compiled` runs the network through torch.compile: other roundings, and faster after some seconds of compiling.
    """

    stage: ClassVar[str] = "evaluate"
    room: ClassVar[str] = "predictions"
    last_file: ClassVar[str] = "predictions.json"
    resources: ClassVar[frozenset[str]] = frozenset({"images_per_chunk"})
    version: Literal[2] = 2  # 2: local response norm by an operator that rounds once, averages summed in float64
    data: PrepareConfig
    classifier: TrainConfig | ForeignConfig
    weights: Literal["averaged", "raw", "best"] = "averaged"  # of a run of ours; `best` was chosen on these very images
    policies: Policies = POLICIES
    crops: CropsConfig = CropsConfig()
    precision: Literal["fp32", "bf16"] = "fp32"
    compiled: bool = False
    images_per_chunk: int = Field(default=32, gt=0)  # ours: images between two saves

    @model_validator(mode="after")
    def _can_be_dense(self) -> "EvaluateConfig":
        if DENSE in self.policies:
            network = self.classifier.network if isinstance(self.classifier, TrainConfig) else None
            dense = network.head == "average" if network else getattr(self.classifier, "arch", "") == "googlenet"
            if not dense:
                raise ValueError(f"policy {DENSE} needs a GoogLeNet with average pooling; choose among those with crops")
        return self


class EnsembleConfig(StageConfig):
    """One cell of Table 3. `choose` says how members become models: all, or the one of lowest top-1 error (section 7)."""

    stage: ClassVar[str] = "ensemble"
    room: ClassVar[str] = "results"
    last_file: ClassVar[str] = "result.json"
    version: Literal[2] = 2  # 2: the first guesses, worst mistakes and smaller ensembles are kept
    members: tuple[EvaluateConfig, ...] = Field(min_length=1)
    policy: Policy
    choose: Literal["all", "best_top1"] = "all"

    @model_validator(mode="after")
    def _policy_was_evaluated(self) -> "EnsembleConfig":
        for member in self.members:
            if self.policy not in member.policies:
                raise ValueError(f"policy {self.policy} is not among the members' policies {member.policies}")
        return self

    @property
    def num_models(self) -> int:
        """Models whose probabilities are averaged."""
        return len(self.members) if self.choose == "all" else 1


class CheckConfig(StageConfig):
    """The claims of the paper judged on these results."""

    stage: ClassVar[str] = "check"
    room: ClassVar[str] = "verdicts"
    last_file: ClassVar[str] = "check.json"
    version: Literal[1] = 1
    results: tuple[EnsembleConfig, ...] = Field(min_length=1)


class ReportConfig(StageConfig):
    """RESULTS.md and report.html of one study."""

    stage: ClassVar[str] = "report"
    room: ClassVar[str] = "reports"
    last_file: ClassVar[str] = "report.json"
    version: Literal[1] = 1
    name: str = Field(pattern=NAME)
    title: str
    check: CheckConfig

    @property
    def folder(self) -> Path:
        """Named for people: the study, then the hash."""
        return Path(self.room) / f"{self.name}-{self.hash}"


class BenchmarkConfig(StageConfig):
    """A measurement of speed. Running it again measures again."""

    stage: ClassVar[str] = "benchmark"
    room: ClassVar[str] = "benchmarks"
    last_file: ClassVar[str] = "benchmark.json"
    resources: ClassVar[frozenset[str]] = frozenset({"path"})
    version: Literal[1] = 1
    what: Literal["evaluate", "prepare", "tracking", "train"]
    input_size: int = Field(default=224, ge=42, multiple_of=14)
    rounds: int = Field(default=7, gt=0)
    num_images: int = Field(default=4, gt=0)
    path: Path | None = None


class Study(Frozen):
    """A named question: results and the claims judged on them."""

    name: str = Field(pattern=NAME)
    title: str
    check: CheckConfig

    def trained_member(self, number: int) -> TrainConfig:
        """The training of a member, from 0.

        Raises:
            InputError: there is no such member, or it was trained elsewhere.
        """
        members = self.check.results[0].members
        if not 0 <= number < len(members):
            raise InputError(f"--member {number}: the study has members 0 to {len(members) - 1}")
        classifier = members[number].classifier
        if not isinstance(classifier, TrainConfig):
            raise InputError(f"--member {number}: was trained elsewhere; expected a run of ours")
        return classifier

    @property
    def report(self) -> ReportConfig:
        """The last stage."""
        return ReportConfig(name=self.name, title=self.title, check=self.check)

    @property
    def stages(self) -> tuple[StageConfig, ...]:
        """Every stage once, inputs before what is made from them; the report is the last."""
        ordered: dict[str, StageConfig] = {}

        def visit(config: StageConfig) -> Iterator[StageConfig]:
            for named in config.inputs:
                yield from visit(named)
            yield config

        for config in visit(self.report):
            ordered.setdefault(config.hash, config)
        return tuple(ordered.values())


def table3(members: tuple[EvaluateConfig, ...]) -> tuple[EnsembleConfig, ...]:
    """The cells of the paper's Table 3: the best single model and the ensemble, at 1, 10 and 144 crops."""
    choices: tuple[Literal["best_top1", "all"], ...] = ("best_top1", "all") if len(members) > 1 else ("all",)
    return tuple(EnsembleConfig(members=members, policy=p, choose=c) for c in choices for p in POLICIES)


STAGES: dict[str, type[StageConfig]] = {
    kind.stage: kind for kind in (PrepareConfig, TrainConfig, EvaluateConfig, EnsembleConfig, CheckConfig, ReportConfig)
}
