"""results/<hash>/: the errors of one cell of Table 3, its members, and where the true label ranks in every image."""

from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from pipeline.artefacts import storage
from pipeline.artefacts.predictions import write_table
from pipeline.paper.statistics import wilson
from pipeline.study import EnsembleConfig

TOP = (1, 5)


class Result:
    """One complete result under `root`.

    Raises:
        InputError: it is not complete.
    """

    def __init__(self, config: EnsembleConfig, root: Path):
        self.config = config
        self.folder = root / config.folder
        self.facts: dict[str, Any] = storage.unseal(config, root)

    def errors(self, top: int) -> np.ndarray:
        """Per image, whether the true label is not among the `top` first."""
        return self._hits("rank") >= top

    def member_errors(self, top: int) -> np.ndarray:
        """Per image, the share of the members that miss the true label among their `top` first."""
        members = range(len(self.config.members))
        shares: np.ndarray = np.mean([self._hits(f"rank_member_{k}") >= top for k in members], axis=0)
        return shares

    def _hits(self, column: str) -> np.ndarray:
        ranks: np.ndarray = parquet.read_table(self.folder / "hits.parquet", columns=[column])[column].to_numpy()
        return ranks


def write_result(
    config: EnsembleConfig,
    root: Path,
    image_ids: list[str],
    labels: np.ndarray,
    rank: np.ndarray,
    member_ranks: list[np.ndarray],
    chosen: list[int],
    num_classes: int,
) -> None:
    """Write hits and errors with their 95 % Wilson intervals, and seal."""
    columns = {"image_id": image_ids, "label": labels.astype(np.int32), "rank": rank.astype(np.int32)}
    columns |= {f"rank_member_{k}": ranks.astype(np.int32) for k, ranks in enumerate(member_ranks)}
    facts: dict[str, Any] = {
        "policy": config.policy,
        "num_members": len(config.members),
        "chosen_members": chosen,
        "num_images": len(rank),
        "num_classes": num_classes,
    }
    for top in TOP:
        wrong = int((rank >= top).sum())
        facts[f"top{top}_error"] = wrong / len(rank)
        facts[f"top{top}_interval"] = list(wilson(wrong, len(rank)))
        facts[f"top{top}_error_of_members"] = [float((ranks >= top).mean()) for ranks in member_ranks]
    hits = write_table(root / config.folder / "hits.parquet", columns)
    storage.seal(config, root, [hits], facts)
