"""What a report shows of ablations: their arms, and by which tests they are judged."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.artefacts import sealing
from pipeline.artefacts.comparison_facts import ArmRow, SealedComparison
from pipeline.artefacts.result import TOP
from pipeline.configs.compare import CompareConfig
from pipeline.configs.train import TrainConfig
from pipeline.paper.policies import label_of, split_policy


class Ablation(NamedTuple):
    """A comparison as the templates show it.

    `arms` has the rows by error, the deciding error first. `chart` is the name of its
    chart.
    """

    facts: SealedComparison
    chart: str
    setting: str
    best: str
    arms: dict[int, list[ArmRow]]


def comparisons(configs: Sequence[CompareConfig], root: Path) -> list[Ablation]:
    """Return what the templates show of each complete ablation."""
    ablations = []
    for number, config in enumerate(configs, start=1):
        if config.is_complete(root):
            facts = sealing.COMPARISON.unseal(config, root)
            tops = sorted(TOP, key=lambda top: top != facts.decided_on)
            arms = {top: facts.arms(top) for top in tops}
            best = _best(config) if facts.top1[0].best is not None else ""
            ablations.append(Ablation(facts, f"ablation_{number}", _setting(config), best, arms))
    return ablations


def _setting(config: CompareConfig) -> str:
    """Return in words what the arms have in common, and which test judges them."""
    seeds, crops = (
        len(config.arms[0].members),
        {label_of(config.policy_of(arm)) for arm in config.arms},
    )
    holm = ", with Holm's correction over the arms" if len(config.arms) > 2 else ""
    at = f", {min(crops)} crop{'' if crops == {'1'} else 's'}" if len(crops) == 1 else ""
    if config.models > 1:
        test = "sign flips of the mean error" if config.models < seeds else "McNemar's test"
        return (
            f"Ensembles of {config.models} from {seeds} members an arm{at}; p: {test} over images,"
            f" for these members{holm}"
        )
    if seeds > 1:
        runs = [
            run
            for run in (member.classifier for member in config.arms[0].members)
            if isinstance(run, TrainConfig)
        ]
        weights = (
            "initial weights of its own"
            if len({run.init_seed for run in runs}) > 1
            else "the same initial weights"
        )
        student = "p and interval: Student's over seeds, given these images"
        return (
            f"{seeds} seeds an arm, each another sampling and order of images from {weights}{at};"
            f" {student}{holm}"
        )
    return (
        f"One seed an arm{at}; p: McNemar's test over images, which says nothing of other"
        f" seeds{holm}"
    )


def _best(config: CompareConfig) -> str:
    """Return in words what an arm's best member is, and how its choice misleads."""
    lowest = "the member with the lowest top-1 error at one crop on these very images"
    if any(arm.members != config.arms[0].members for arm in config.arms):
        return (
            f"Best: of each arm {lowest}. Its p is McNemar's, uncorrected, for these networks: it"
            " leaves out that each was picked and how seeds differ, so it is too small for the arms"
        )
    if split_policy(config.policy_of(config.arms[0])) == ("crops_1", "mean"):
        return (
            f"Best: {lowest}, the same in every arm. It was picked by the first arm's own errors,"
            " so that arm looks better than it is: gains of the others are understated, and p"
            " (McNemar's, uncorrected) is too large for them"
        )
    return (
        f"Best: {lowest}, the same in every arm; p is McNemar's, uncorrected, for this network"
        " alone"
    )
