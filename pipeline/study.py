"""What a study is: frozen configs that name each other, and the order of their stages.

A config names its inputs by holding their configs. Its hash covers every field that changes the numbers and the hashes of
its inputs, so the path of an artefact follows from the config alone. The hash leaves out resources (where data lies, how
often to save) and fields at their default, so that a new option orphans no artefact. `version` is raised with any change of
code or of a default that moves numbers.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Policy = Literal["crops_1", "crops_10", "crops_144"]
POLICIES: tuple[Policy, ...] = ("crops_1", "crops_10", "crops_144")
NAME = r"^[A-Za-z0-9._-]{1,64}$"


class InputError(Exception):
    """The user's input is wrong. The message is one line: what, its value, and what would be valid (exit code 2)."""


class Frozen(BaseModel):
    """A value: immutable, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StageConfig(Frozen):
    """Base of all stage configs. `last_file` is written last: the artefact is complete when it exists."""

    stage: ClassVar[str]
    room: ClassVar[str]
    last_file: ClassVar[str]
    resources: ClassVar[frozenset[str]] = frozenset()

    @property
    def hash(self) -> str:
        """16 hex digits that name the artefact; equal for equal science, whatever the resources."""

        def science(value: Any) -> Any:
            if isinstance(value, StageConfig):
                return value.hash
            if isinstance(value, BaseModel):
                return chosen(value)
            if isinstance(value, tuple):
                return [science(item) for item in value]
            return value

        def chosen(model: BaseModel) -> dict[str, Any]:
            fields = type(model).model_fields
            values = {name: getattr(model, name) for name in fields if name not in self.resources}
            return {name: science(v) for name, v in values.items() if v != fields[name].default or name == "version"}

        content = {"stage": self.stage, **chosen(self)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        """Where the artefact lies, relative to the root."""
        return Path(self.room) / self.hash

    @property
    def inputs(self) -> tuple["StageConfig", ...]:
        """The artefacts this one is made from, each once."""
        named: dict[str, StageConfig] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, StageConfig):
                    named.setdefault(item.hash, item)
        return tuple(named.values())

    def is_complete(self, root: Path) -> bool:
        """Whether the artefact exists under `root`, whole."""
        return (root / self.folder / self.last_file).is_file()


class PrepareConfig(StageConfig):
    """Images and labels, as shards. `path` is where the source lies on this machine; `name` says what it holds."""

    stage: ClassVar[str] = "prepare"
    room: ClassVar[str] = "datasets"
    last_file: ClassVar[str] = "manifest.json"
    resources: ClassVar[frozenset[str]] = frozenset({"path"})
    version: Literal[1] = 1
    source: Literal["digits", "imagefolder"]
    name: str = Field(pattern=NAME)
    path: Path | None = None


class NetworkConfig(Frozen):
    """GoogLeNet's shape; the options are described in paper/googlenet.py. The defaults are the paper's network."""

    input_size: int = Field(default=224, ge=42, multiple_of=14)  # ours: so that all crops lie on whole pixels
    width: float = Field(default=1.0, gt=0, le=4)
    aux_heads: tuple[Literal["4a", "4d"], ...] = ("4a", "4d")
    dropout: float = Field(default=0.4, ge=0, lt=1)
    conv1: Literal["dense", "separable"] = "dense"
    modules: Literal["reduced", "naive"] = "reduced"
    norm: Literal["lrn", "batch", "none"] = "lrn"
    head: Literal["average", "fully_connected"] = "average"


class TrainConfig(StageConfig):
    """One training run. Fields without a comment are `paper`, sections 5 and 6."""

    stage: ClassVar[str] = "train"
    room: ClassVar[str] = "runs"
    last_file: ClassVar[str] = "run.json"
    resources: ClassVar[frozenset[str]] = frozenset({"validate_every_epochs", "checkpoint_every_seconds"})
    version: Literal[1] = 1
    data: PrepareConfig
    network: NetworkConfig = NetworkConfig()
    init: Literal["kaiming", "caffe"] = "kaiming"  # ours: the paper is silent; see paper/initialisation.py
    init_seed: int = 0  # the paper's members share their initial weights ...
    data_seed: int = 0  # ... and differ in sampling and order
    num_epochs: float = Field(gt=0)
    global_batch_size: int = Field(default=32, gt=0)  # ours: Caffe's author reports that the authors used 32
    learning_rate: float = Field(default=0.01, gt=0)  # ours: Caffe's
    schedule: Literal["paper", "cosine"] = "paper"
    warmup_epochs: float = Field(default=0.0, ge=0)  # ours: a deep network without batch norm starts badly at full rate
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=2e-4, ge=0)  # ours: Caffe's; biases are not decayed
    clip_norm: float | None = Field(default=None, gt=0)  # ours: gradient clipping, off
    averaging_decay: float = Field(default=0.9999, ge=0, lt=1)  # ours: Polyak's average as an EMA, Google's later choice
    aux_weight: float = Field(default=0.3, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)  # ours: off
    min_area: float = Field(default=0.08, gt=0, le=1)
    class_balance: float = Field(default=0.0, ge=0, le=1)  # ours: 0 samples images alike, 1 samples classes alike
    precision: Literal["fp32", "bf16"] = "fp32"
    validate_every_epochs: float = Field(default=1.0, gt=0)
    checkpoint_every_seconds: float = Field(default=60.0, ge=0)


class EvaluateConfig(StageConfig):
    """Probabilities of one run on the validation images, averaged over crops, for several policies at once."""

    stage: ClassVar[str] = "evaluate"
    room: ClassVar[str] = "predictions"
    last_file: ClassVar[str] = "predictions.json"
    version: Literal[1] = 1
    data: PrepareConfig
    run: TrainConfig
    weights: Literal["averaged", "raw"] = "averaged"
    policies: tuple[Policy, ...] = Field(default=POLICIES, min_length=1)
    precision: Literal["fp32", "bf16"] = "fp32"


class EnsembleConfig(StageConfig):
    """One cell of Table 3. `choose` is how members become models: all, or the one of lowest top-1 error (section 7)."""

    stage: ClassVar[str] = "ensemble"
    room: ClassVar[str] = "results"
    last_file: ClassVar[str] = "result.json"
    version: Literal[1] = 1
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


class Study(Frozen):
    """A named question: results and the claims judged on them."""

    name: str = Field(pattern=NAME)
    title: str
    check: CheckConfig

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
