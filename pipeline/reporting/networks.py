"""The networks of a study, and the ensembles that they make."""

from collections.abc import Mapping

from pipeline.artefacts.contents import SealedPredictions
from pipeline.artefacts.facts import Facts
from pipeline.artefacts.result import Result
from pipeline.configs.evaluate import EvaluateConfig

MOST_MEMBERS = 5  # ours: 31 ensembles fill a table; of more, the report has means by size


class Member(Facts):
    """A network of a study, by its number, and its errors at the crops of a result.

    `multiply_adds` are those of one crop.
    """

    member: int
    network: str
    name: str
    input_size: int
    num_parameters: int | None
    multiply_adds: int | None
    crops: str
    top1_error: float
    top5_error: float


class Subset(Facts):
    """An ensemble of some of a study's networks, by their numbers."""

    members: str
    models: int
    crops: str
    top1_error: float
    top5_error: float


def of_members(
    result: Result, crops: str, evaluations: Mapping[str, SealedPredictions]
) -> list[Member]:
    """Return the members of a result; `evaluations` has their files, by hash."""
    figures = result.facts
    return [
        Member(
            member=number,
            network=config.classifier.arch,
            name=config.classifier.label,
            input_size=config.classifier.input_size,
            num_parameters=evaluations[config.hash].num_parameters,
            multiply_adds=evaluations[config.hash].multiply_adds,
            crops=crops,
            top1_error=top1,
            top5_error=top5,
        )
        for number, (config, top1, top5) in enumerate(
            zip(
                result.config.members,
                figures.top1_error_of_members,
                figures.top5_error_of_members,
                strict=True,
            ),
            start=1,
        )
    ]


def of_subsets(result: Result, crops: str) -> list[Subset]:
    """Return all ensembles of a result's few members, small ones first."""
    if not 1 < len(result.config.members) <= MOST_MEMBERS:
        return []
    return [
        Subset(
            members="+".join(str(number + 1) for number in subset.members),
            models=len(subset.members),
            crops=crops,
            top1_error=subset.top1_error,
            top5_error=subset.top5_error,
        )
        for subset in sorted(result.facts.subsets, key=lambda each: len(each.members))
    ]


def input_sizes(members: list[EvaluateConfig]) -> str:
    """Return the sides of the members' inputs, in words.

    >>> input_sizes([])
    ''
    """
    sizes = sorted({member.classifier.input_size for member in members})
    return " to ".join(f"{size}" for size in dict.fromkeys((*sizes[:1], *sizes[-1:])))
