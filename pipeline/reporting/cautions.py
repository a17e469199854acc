"""What a reader must know before believing an error."""

from collections.abc import Iterable, Sequence

from pipeline.artefacts.contents import SealedPredictions
from pipeline.artefacts.result import Result
from pipeline.configs.evaluate import ForeignConfig
from pipeline.configs.train import TrainConfig
from pipeline.paper.crops import label_of


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
        f" {expected:.1f}; usual causes: {causes}"
    )


def cautions(results: Sequence[Result], evaluated: Iterable[SealedPredictions]) -> list[str]:
    """Return all sentences that a reader must know.

    There is one for each result that may be guessing, and one for each difference
    between an evaluation and what the makers of the weights did.
    """
    guesses = [
        f"{label_of(result.config.policy)} crops, models {result.config.num_models}: "
        + guessing(
            result.config.members[0].classifier,
            result.facts.num_images,
            result.facts.chance[0].hits,
            result.facts.chance[0].expected,
        )
        for result in results
        if result.facts.chance and result.facts.may_be_guessing
    ]
    notes = [sentence for sealed in evaluated for sentence in sealed.notes or ()]
    return list(dict.fromkeys(guesses + notes))
