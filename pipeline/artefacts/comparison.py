"""comparisons/<hash>/: each arm of an ablation against the first.

Its hits say where the label ranks in every image, for each member of each arm.
"""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artefacts import sealing
from pipeline.artefacts.comparison_facts import ComparisonFacts
from pipeline.artefacts.predictions import HITS, write_table
from pipeline.configs.compare import CompareConfig


def write_comparison(
    config: CompareConfig,
    root: Path,
    image_ids: list[str],
    labels: np.ndarray,
    ranks: list[np.ndarray],
    facts: ComparisonFacts,
) -> None:
    """Write the hits, and seal the comparison.

    The hits have the columns `label` and `rank_<arm>_<member>`. `ranks` has one array
    for each arm, of members x images.
    """
    columns: dict[str, Any] = {"image_id": image_ids, "label": labels.astype(np.int32)}
    for k, of_arm in enumerate(ranks):
        columns |= {f"rank_{k}_{number}": row.astype(np.int32) for number, row in enumerate(of_arm)}
    table = write_table(root / config.folder / HITS, columns)
    sealing.COMPARISON.seal(config, root, [table], facts)
