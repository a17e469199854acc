"""What a study is: frozen configs that name each other, one class a stage, and the order of their stages."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.configs.base import Frozen as Frozen
from pipeline.configs.base import StageConfig as StageConfig
from pipeline.configs.options import POLICIES as POLICIES
from pipeline.configs.options import CropsConfig as CropsConfig
from pipeline.configs.options import ForeignConfig as ForeignConfig
from pipeline.configs.options import LocalSGDConfig as LocalSGDConfig
from pipeline.configs.options import NetworkConfig as NetworkConfig
from pipeline.configs.options import PatchConfig as PatchConfig
from pipeline.configs.options import Policies as Policies
from pipeline.configs.options import Policy as Policy
from pipeline.configs.options import Precision as Precision
from pipeline.configs.prepare import NAME
from pipeline.configs.prepare import PrepareConfig as PrepareConfig
from pipeline.configs.prepare import ReencodeConfig as ReencodeConfig
from pipeline.configs.train import TrainConfig as TrainConfig
from pipeline.errors import InputError as InputError
from pipeline.paper.crops import CURVE, DENSE, NUM_CROPS
from pipeline.paper.published import Cell


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
    precision: Precision = "fp32"
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
    version: Literal[3] = 3  # 2: the first guesses, worst mistakes and smaller ensembles are kept; 3: their hits too
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


class Arm(Frozen):
    """One arm of an ablation: the same training under several seeds, evaluated alike.

    `policy` is for arms that differ in their crops; without it the comparison's holds.
    """

    name: str = Field(min_length=1, max_length=64)
    members: tuple[EvaluateConfig, ...] = Field(min_length=1)
    policy: Policy | None = None


class CompareConfig(StageConfig):
    """Arms of an ablation against the first of them, on the same images: the first member against the first, and so on.

    With `models` above 1 it is ensembles that are compared: the mean error of all that so many of an arm's members make.
    """

    stage: ClassVar[str] = "compare"
    room: ClassVar[str] = "comparisons"
    last_file: ClassVar[str] = "comparison.json"
    version: Literal[3] = 3  # 2: the best of each arm, and what it would take to decide; 3: this with Holm's correction
    question: str = Field(min_length=1, max_length=128)
    arms: tuple[Arm, ...] = Field(min_length=2)
    policy: Policy = "crops_1"
    models: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _can_be_paired(self) -> "CompareConfig":
        sizes = {arm.name: len(arm.members) for arm in self.arms}
        if len(sizes) < len(self.arms) or len(set(sizes.values())) > 1:
            raise ValueError(f"arms {sizes} cannot be paired; expected as many members in each, and names of their own")
        for arm in self.arms:
            policy = self.policy_of(arm)
            for member in arm.members:
                if policy not in member.policies or member.data.hash != self.arms[0].members[0].data.hash:
                    raise ValueError(f"policy {policy}: not every member was evaluated so, on the same data")
        if self.models > min(sizes.values()):
            raise ValueError(f"models {self.models}: an arm has {min(sizes.values())} members")
        return self

    def policy_of(self, arm: Arm) -> Policy:
        """The crops of an arm."""
        return arm.policy or self.policy

    @property
    def inputs(self) -> tuple[StageConfig, ...]:
        """The members of all arms, each once."""
        return tuple({member.hash: member for arm in self.arms for member in arm.members}.values())


class CheckConfig(StageConfig):
    """The claims of the paper judged on these results."""

    stage: ClassVar[str] = "check"
    room: ClassVar[str] = "verdicts"
    last_file: ClassVar[str] = "check.json"
    version: Literal[4] = 4  # 2: Holm's correction; 3: the images that decide are counted with it; 4: p of what was decided
    results: tuple[EnsembleConfig, ...] = Field(min_length=1)

    @property
    def cells(self) -> dict[Cell, EnsembleConfig]:
        """The results that claims are judged on: of the paper's crops, averaged. Of several ensembles the last is "all"."""
        cells: dict[Cell, EnsembleConfig] = {}
        for named in self.results:
            if named.policy in CURVE:
                crops = NUM_CROPS[named.policy]
                cells[Cell(named.num_models, crops)] = named
                if named.num_models > 1:
                    cells[Cell("all", crops)] = named
        return cells


class ReportConfig(StageConfig):
    """RESULTS.md and report.html of one study."""

    stage: ClassVar[str] = "report"
    room: ClassVar[str] = "reports"
    last_file: ClassVar[str] = "report.json"
    version: Literal[2] = 2
    name: str = Field(pattern=NAME)
    title: str
    check: CheckConfig
    comparisons: tuple[CompareConfig, ...] = ()

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
    comparisons: tuple[CompareConfig, ...] = ()

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
        return ReportConfig(name=self.name, title=self.title, check=self.check, comparisons=self.comparisons)

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


def table3(members: tuple[EvaluateConfig, ...], policies: Policies = POLICIES) -> tuple[EnsembleConfig, ...]:
    """The cells of the paper's Table 3: the best single model and the ensemble, at 1, 10 and 144 crops, or at others."""
    choices: tuple[Literal["best_top1", "all"], ...] = ("best_top1", "all") if len(members) > 1 else ("all",)
    return tuple(EnsembleConfig(members=members, policy=p, choose=c) for c in choices for p in policies)


def comparison(
    question: str, arms: Mapping[str, Sequence[EvaluateConfig]], policy: Policy = "crops_10", models: int = 1
) -> CompareConfig:
    """Arms by name, each with its members; the first is the baseline."""
    made = tuple(Arm(name=arm, members=tuple(members)) for arm, members in arms.items())
    return CompareConfig(question=question, arms=made, policy=policy, models=models)


def ablation(name: str, question: str, arms: Mapping[str, Sequence[EvaluateConfig]], policy: Policy = "crops_10") -> Study:
    """A study of arms, by name, each with its members (one a seed); the first arm is the baseline, and has its Table 3."""
    compared = comparison(question, arms, policy)
    baseline = compared.arms[0].members
    return Study(
        name=name,
        title=f"{question} {', '.join(arms)}; {len(baseline)} seed{'s' if len(baseline) > 1 else ''} each",
        check=CheckConfig(results=table3(baseline)),
        comparisons=(compared,),
    )


STAGES: dict[str, type[StageConfig]] = {
    kind.stage: kind
    for kind in (PrepareConfig, TrainConfig, EvaluateConfig, EnsembleConfig, CompareConfig, CheckConfig, ReportConfig)
}
