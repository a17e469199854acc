"""What a reader must know before believing an error."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pipeline.artefacts import sealing
from pipeline.artefacts.contents import SealedPredictions
from pipeline.artefacts.result import Result
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.train import TrainConfig
from pipeline.paper.policies import in_crops, label_of


def guessing(
    classifier: ForeignConfig | TrainConfig, num_images: int, hits: int, expected: float
) -> str:
    """Return the sentence that a classifier may only guess, with the usual causes."""
    causes = (
        "mean and std (--mean, --std), the order of the classes (--classes), another set of weights"
        " (--weights-key)"
        if isinstance(classifier, ForeignConfig)
        else "a training that has not begun to learn, labels in another order than in training"
    )
    return (
        f"HARDLY BETTER THAN GUESSING: {hits} of {num_images} right, where guessing would give"
        f" {expected:.1f}; usual causes: too few images to tell, {causes}"
    )


def cautions(results: Sequence[Result], evaluated: Iterable[SealedPredictions]) -> list[str]:
    """Return all sentences that a reader must know.

    There is one where results may be guesses, and one for each difference between an
    evaluation and what the makers of the weights did.
    """
    notes = [sentence for sealed in evaluated for sentence in sealed.notes or ()]
    return list(dict.fromkeys([*_guesses(results), *notes]))


def _guesses(results: Sequence[Result]) -> Iterator[str]:
    """Yield the sentence that results may be guesses, with the cells that they fill."""
    chances = {
        result: result.facts.chance[0]
        for result in results
        if result.facts.chance and result.facts.may_be_guessing
    }
    if not chances:
        return
    first, least = min(chances.items(), key=lambda item: item[1].hits)
    cells = [
        f"{result.config.num_models} model{'s' * (result.config.num_models > 1)} with"
        f" {in_crops(label_of(result.config.policy))}"
        for result in chances
    ]
    all_of_several = 1 < len(chances) == len(results)
    yield f"{'all results' if all_of_several else ', '.join(cells)}: " + guessing(
        first.config.members[0].classifier, first.facts.num_images, least.hits, least.expected
    )


def single_model(results: Sequence[Result]) -> str:
    """Return which member a single model is; empty where no member is chosen."""
    singles = [result for result in results if result.config.choose == "best_top1"]
    if not singles:
        return ""
    members = singles[0].config.members
    place = singles[0].facts.chosen_members[0]
    return (
        f"1 model: member {place + 1} of {len(members)} ({members[place].classifier.label}), which"
        " has the lowest top-1 error at one crop on these very images."
    )


def denominator(num_images: int, members: list[EvaluateConfig], root: Path) -> str:
    """Return how many images the errors are counted on, and which are unusable."""
    sealed = [sealing.PREDICTIONS.unseal(member, root) for member in members]
    bad = sorted({name for facts in sealed for name in facts.bad_images})
    text = f"{num_images} validation images"
    if bad:
        text += (
            f" (unreadable, counted as errors: {len(bad)}:"
            f" {', '.join(bad[:5])}{' ...' if bad[5:] else ''})"
        )
    if rejected := max(facts.num_rejected for facts in sealed):
        text += f" (not images, left out in preparation: {rejected})"
    return text
