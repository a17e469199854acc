"""Stage: predictions of several models -> errors of their averaged probabilities.

See section 7 of the paper.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from pipeline.artefacts.contents import Mistake
from pipeline.artefacts.dataset import Dataset, Split
from pipeline.artefacts.predictions import Predictions, best_member
from pipeline.artefacts.result import Hits, Result, write_result
from pipeline.artefacts.scores import blocks
from pipeline.configs.compare import EnsembleConfig
from pipeline.errors import InputError
from pipeline.paper.published import published_error
from pipeline.reporting.mistakes import WorstMistakes, confusions
from pipeline.stages.comparable import as_the_papers, recognised, trained_on
from pipeline.statistics.chance import Guesses
from pipeline.statistics.label_ranks import rank_of_label
from pipeline.statistics.subsets import MAX_MEMBERS, Subset, subset_ranks
from pipeline.tracking.tracker import Tracker

K = TypeVar("K")


def ensemble(config: EnsembleConfig, root: Path) -> Result:
    """Average the members' probabilities with equal weights, or choose one member.

    The chosen member has the lowest top-1 error at one crop. It is the same for all
    policies, so all rows of Table 3 for one model are of one network.

    Raises:
        InputError: the members were not evaluated on the same data set, or one is not
            complete.
    """
    if config.is_complete(root):
        return Result(config, root)
    if len({member.data.hash for member in config.members}) > 1:
        raise InputError(f"{config.folder}: its members were evaluated on different data sets")
    data = Dataset(config.members[0].data, root)
    split = data.split("val")

    places = chosen_members(config, root)
    hits, worst = _outcomes(config, root, split, places)
    mistakes = worst.in_order(split, data.classes, config.pictures)
    write_result(config, root, hits, places, data.classes, mistakes)
    result = Result(config, root)
    with Tracker(config, root) as tracker:
        pairs = confusions(hits.labels, hits.predicted, data.classes)
        tracker.table("confusions", [pair.plain() for pair in pairs])
        tracker.table("worst_mistakes", [_in_a_row(mistake) for mistake in result.mistakes])
        tracker.conclude(_figures(result, root))
    return result


def _outcomes(
    config: EnsembleConfig, root: Path, split: Split, places: list[int]
) -> tuple[Hits, WorstMistakes]:
    """Return the outcome for each image, and the worst mistakes.

    The scores are read by blocks of images: all of them would not fit the memory.
    """
    scores = [Predictions(member, root).scores(config.policy) for member in config.members]
    num_classes = scores[0].shape[1]
    guesses, worst = Guesses(num_classes), WorstMistakes(split.labels)
    columns: list[dict[str, np.ndarray]] = []
    subsets: list[dict[Subset, np.ndarray]] = []
    for rows in blocks(len(split)):
        members, labels = [each[rows] for each in scores], split.labels[rows]
        total = np.zeros((len(labels), num_classes))
        for k in places:
            total += members[k]
        rank = rank_of_label(total, labels)
        columns.append(
            {
                "rank": rank,
                "predicted": np.where(np.isnan(total).any(axis=1), -1, total.argmax(axis=1)),
            }
            | {str(k): rank_of_label(each, labels) for k, each in enumerate(members)}
        )
        if 1 < len(places) <= MAX_MEMBERS:
            subsets.append(subset_ranks(members, labels))
        guesses.add(total, labels)
        worst.add(rows, total, rank)
    whole = _joined(columns)
    hits = Hits(
        image_ids=split.image_ids,
        labels=split.labels,
        rank=whole["rank"],
        predicted=whole["predicted"],
        member_ranks=[whole[str(k)] for k in range(len(scores))],
        subset_ranks=_joined(subsets),
        chances=guesses.against_chance(),
    )
    return hits, worst


def _joined(parts: Sequence[Mapping[K, np.ndarray]]) -> dict[K, np.ndarray]:
    """Return columns whose parts follow each other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in (*parts, {})[0]}


def chosen_members(config: EnsembleConfig, root: Path) -> list[int]:
    """Return the places of the members that are averaged."""
    return (
        [best_member(config.members, root)]
        if config.choose == "best_top1"
        else list(range(len(config.members)))
    )


def _figures(result: Result, root: Path) -> dict[str, float]:
    """Return the figures of a result for W&B: its errors, and their gap to the paper.

    The gap is there where the paper has such a cell, and it can be compared.
    """
    figures = {"top1_error": result.facts.top1_error, "top5_error": result.facts.top5_error}
    config = result.config
    published = published_error(config.num_models, config.policy)
    comparability = as_the_papers(
        config.members, recognised(result, root), trained_on(config.members, root)
    )
    if published and not comparability.obstacle:
        figures |= {
            "published_top5_error": published,
            "gap_to_published": result.facts.top5_error - published,
        }
    return {**figures, "num_models": config.num_models}


def _in_a_row(mistake: Mistake) -> dict[str, object]:
    guesses = ", ".join(
        f"{guess.label} {100 * guess.probability:.0f} %" for guess in mistake.guesses
    )
    return {**dict(mistake), "guesses": guesses}
