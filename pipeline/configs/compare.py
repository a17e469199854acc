"""Ensembles, and arms of an ablation beside each other."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.configs.base import MOST_MEMBERS, Frozen, StageConfig
from pipeline.configs.evaluate import POLICIES, EvaluateConfig, Policies, Policy


class EnsembleConfig(StageConfig):
    """One cell of Table 3.

    `choose` says how members become models: all of them, or the one of lowest top-1
    error (section 7).
    """

    stage: ClassVar[str] = "ensemble"
    room: ClassVar[str] = "results"
    last_file: ClassVar[str] = "result.json"
    artifact_type: ClassVar[str] = "result"
    kept: ClassVar[tuple[str, ...]] = ("hits.parquet", "mistakes.json")
    resources: ClassVar[frozenset[str]] = frozenset({"pictures"})
    # 2: the first guesses, worst mistakes and smaller ensembles are kept; 3: their hits
    # too
    version: Literal[3] = 3
    members: tuple[EvaluateConfig, ...] = Field(min_length=1, max_length=MOST_MEMBERS)
    """The evaluations whose probabilities are averaged."""
    policy: Policy
    """Whose crops are averaged."""
    choose: Literal["all", "best_top1"] = "all"
    """All members, or the one of lowest top-1 error."""
    pictures: bool = True  # ours: a result that is published shows some images
    """Keep pictures of the worst mistakes, where the terms of the data allow it."""

    @model_validator(mode="after")
    def _policy_was_evaluated(self) -> "EnsembleConfig":
        for member in self.members:
            if self.policy not in member.policies:
                raise ValueError(
                    f"policy {self.policy} is not among the members' policies {member.policies}"
                )
        return self

    @property
    def num_models(self) -> int:
        """The number of models whose probabilities are averaged."""
        return len(self.members) if self.choose == "all" else 1


class Arm(Frozen):
    """One arm of an ablation: the same training under several seeds, evaluated alike.

    `policy` is for arms that differ in their crops; the default is the comparison's.
    """

    name: str = Field(min_length=1, max_length=64)
    """What the arm is called."""
    members: tuple[EvaluateConfig, ...] = Field(min_length=1, max_length=MOST_MEMBERS)
    """Its evaluations, one for each seed."""
    policy: Policy | None = None
    """Its crops, if not the comparison's."""


class CompareConfig(StageConfig):
    """The arms of an ablation, each compared with the first arm on the same images.

    Members are paired in order: the first with the first, and so on. With `models`
    above 1 ensembles are compared: the mean error of all ensembles that so many of an
    arm's members make.
    """

    stage: ClassVar[str] = "compare"
    room: ClassVar[str] = "comparisons"
    last_file: ClassVar[str] = "comparison.json"
    artifact_type: ClassVar[str] = "compare"
    kept: ClassVar[tuple[str, ...]] = ("hits.parquet",)
    # 2: the best of each arm, and what it would take to decide; 3: this with Holm's
    # correction; 4: at the level at which Holm's tests each arm
    version: Literal[4] = 4
    question: str = Field(min_length=1, max_length=128)
    """What the comparison asks."""
    arms: tuple[Arm, ...] = Field(min_length=2)
    """What is compared; the first is the baseline."""
    policy: Policy = "crops_1"
    """The crops on which arms are compared."""
    models: int = Field(default=1, ge=1, le=MOST_MEMBERS)
    """Members in each ensemble that is compared."""

    @model_validator(mode="after")
    def _can_be_paired(self) -> "CompareConfig":
        sizes = {arm.name: len(arm.members) for arm in self.arms}
        if len(sizes) < len(self.arms) or len(set(sizes.values())) > 1:
            raise ValueError(
                f"arms {sizes} cannot be paired; expected as many members in each, and names of"
                " their own"
            )
        for arm in self.arms:
            if len({member.classifier.science for member in arm.members}) < len(arm.members):
                raise ValueError(f"arm {arm.name}: one network counts as several members")
            policy = self.policy_of(arm)
            for member in arm.members:
                if (
                    policy not in member.policies
                    or member.data.hash != self.arms[0].members[0].data.hash
                ):
                    raise ValueError(
                        f"policy {policy}: not every member was evaluated so, on the same data"
                    )
        if self.models > min(sizes.values()):
            raise ValueError(f"models {self.models}: an arm has {min(sizes.values())} members")
        return self

    def policy_of(self, arm: Arm) -> Policy:
        """Return the crops of an arm."""
        return arm.policy or self.policy

    @property
    def inputs(self) -> tuple[StageConfig, ...]:
        """The members of all arms, each once."""
        return tuple({member.hash: member for arm in self.arms for member in arm.members}.values())


def table3(
    members: tuple[EvaluateConfig, ...], policies: Policies = POLICIES, pictures: bool = True
) -> tuple[EnsembleConfig, ...]:
    """Return the cells of the paper's Table 3: the best single model and the ensemble.

    The default `policies` are 1, 10 and 144 crops. Without `pictures` no image of the
    data lies in a result.
    """
    choices: tuple[Literal["best_top1", "all"], ...] = (
        ("best_top1", "all") if len(members) > 1 else ("all",)
    )
    return tuple(
        EnsembleConfig(members=members, policy=p, choose=c, pictures=pictures)
        for c in choices
        for p in policies
    )


def comparison(
    question: str,
    arms: Mapping[str, Sequence[EvaluateConfig]],
    policy: Policy = "crops_10",
    models: int = 1,
) -> CompareConfig:
    """Return the comparison of arms, by name, each with its members.

    The first arm is the baseline.
    """
    in_order = tuple(Arm(name=arm, members=tuple(members)) for arm, members in arms.items())
    return CompareConfig(question=question, arms=in_order, policy=policy, models=models)
