"""results/<hash>/: the errors of one cell of Table 3, and of its members.

Its hits say where the true label ranks in every image.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import TypeAdapter

from pipeline.artefacts import sealing
from pipeline.artefacts.contents import ChanceFacts, Figures, Mistake, ResultFacts, SubsetErrors
from pipeline.artefacts.predictions import HITS, read_column, write_table
from pipeline.configs.compare import EnsembleConfig
from pipeline.runtime import disk
from pipeline.statistics.chance import Chance, may_be_guessing
from pipeline.statistics.inference import wilson

TOP = (1, 5)
MISTAKES = "mistakes.json"
ROWS = TypeAdapter(list[Mistake])


class Result:
    """One complete result under `root`.

    Raises:
        InputError: the result is not complete.
    """

    def __init__(self, config: EnsembleConfig, root: Path):
        self.config, self.root = config, root
        self.facts = sealing.RESULT.unseal(config, root)

    def errors(self, top: int) -> np.ndarray:
        """Return for each image whether the true label is not among the `top` first."""
        return self.hits("rank") >= top

    def errors_of_members(self, top: int) -> np.ndarray:
        """Return whether each member misses the true label, as members x images.

        A member misses it where it is not among the member's `top` first guesses.
        """
        members = range(len(self.config.members))
        return np.stack([self.hits(f"rank_member_{k}") >= top for k in members])

    @property
    def image_ids(self) -> list[str]:
        """The names of all images."""
        return list(self.hits("image_id"))

    def hits(self, column: str) -> np.ndarray:
        """Return a column of hits.parquet, a value for each image.

        It has image_id, label, predicted (-1: none), rank, rank_member_0 and so on.
        """
        return read_column(sealing.sealed_file(self.config, self.root, HITS), column)

    @property
    def mistakes(self) -> list[Mistake]:
        """The worst mistakes, with pictures."""
        return sealing.read_rows(sealing.sealed_file(self.config, self.root, MISTAKES), ROWS)


class Hits(NamedTuple):
    """The outcome for each image.

    It has the label, the first guess (-1 where there is none) and where the label
    ranks. `member_ranks` has the rank for each member. `subset_ranks` has it for every
    smaller ensemble of them, 5 at most.
    """

    image_ids: list[str]
    labels: np.ndarray
    rank: np.ndarray
    predicted: np.ndarray
    member_ranks: list[np.ndarray]
    subset_ranks: dict[tuple[int, ...], np.ndarray]
    chances: Sequence[Chance] = ()  # hits beside those of a guesser

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The columns of hits.parquet, by name."""
        columns = {"label": self.labels, "predicted": self.predicted, "rank": self.rank}
        columns |= {f"rank_member_{k}": ranks for k, ranks in enumerate(self.member_ranks)}
        columns = {name: values.astype(np.int32) for name, values in columns.items()}
        return columns | {
            "rank_of_" + "_".join(map(str, subset)): ranks
            for subset, ranks in self.subset_ranks.items()
        }


def figures(columns: Mapping[str, np.ndarray]) -> Figures:
    """Return all errors that the columns of a hits.parquet give.

    The intervals are Wilson's.
    """
    count = len(columns["rank"])
    members = [name for name in columns if name.startswith("rank_member_")]
    subsets = [name for name in columns if name.startswith("rank_of_")]

    def error(name: str, top: int) -> float:
        return float((columns[name] >= top).mean())

    top1, top5 = (int((columns["rank"] >= top).sum()) for top in TOP)
    return Figures(
        num_images=count,
        subsets=[
            SubsetErrors(
                members=[int(k) for k in name.removeprefix("rank_of_").split("_")],
                top1_error=error(name, 1),
                top5_error=error(name, 5),
            )
            for name in subsets
        ],
        top1_error=top1 / count,
        top1_interval=wilson(top1, count),
        top1_error_of_members=[error(name, 1) for name in members],
        top5_error=top5 / count,
        top5_interval=wilson(top5, count),
        top5_error_of_members=[error(name, 5) for name in members],
    )


def write_result(
    config: EnsembleConfig,
    root: Path,
    hits: Hits,
    places: list[int],
    classes: list[str],
    mistakes: list[Mistake],
) -> None:
    """Write hits and worst mistakes, and seal the result with its errors.

    Each error has a 95 % Wilson interval. `places` are the places of the members that
    are averaged.
    """
    errors = figures(hits.columns)
    facts = ResultFacts(
        policy=config.policy,
        num_members=len(config.members),
        chosen_members=places,
        num_classes=len(classes),
        classes=classes,
        num_images=errors.num_images,
        subsets=errors.subsets,
        top1_error=errors.top1_error,
        top1_interval=errors.top1_interval,
        top1_error_of_members=errors.top1_error_of_members,
        top5_error=errors.top5_error,
        top5_interval=errors.top5_interval,
        top5_error_of_members=errors.top5_error_of_members,
        chance=[ChanceFacts.model_validate(chance._asdict()) for chance in hits.chances],
        may_be_guessing=may_be_guessing(hits.chances),
    )
    folder = root / config.folder
    table = write_table(folder / HITS, {"image_id": hits.image_ids, **hits.columns})
    disk.write_json(folder / MISTAKES, [mistake.plain() for mistake in mistakes])
    sealing.RESULT.seal(config, root, [table, folder / MISTAKES], facts)
