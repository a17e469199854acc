"""Stage: predictions of the arms of an ablation -> differences to the first arm, with intervals and a decision."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.adapters.tracking import Tracker
from pipeline.artefacts import storage
from pipeline.artefacts.comparison import write_comparison
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.paper.statistics import (
    SIGNIFICANCE,
    across_seeds,
    bootstrap_interval,
    holm,
    mcnemar,
    paired_interval,
    rank_of_label,
)
from pipeline.stages.check import FEW_CLASSES
from pipeline.study import CompareConfig


def compare(config: CompareConfig, root: Path) -> dict[str, Any]:
    """Compare every arm with the first, seed by seed on the same images; returns what the sealed file holds.

    The test is Student's over seeds, corrected by Holm over the arms; of a single seed, McNemar's over images, which says
    nothing of other seeds.
    """
    if config.is_complete(root):
        return storage.unseal(config, root)
    data = Dataset(config.arms[0].members[0].data, root)
    split = data.split("val")
    ranks = [
        np.stack(
            [rank_of_label(Predictions(member, root).probabilities(config.policy), split.labels) for member in arm.members]
        )
        for arm in config.arms
    ]
    tops = {f"top{top}": _of_arms(config, [of_arm >= top for of_arm in ranks]) for top in (1, 5)}
    facts = {"question": config.question, "policy": config.policy, "num_images": len(split), **tops}
    facts |= {"num_seeds": len(config.arms[0].members), "decided_on": 1 if data.num_classes < FEW_CLASSES else 5}
    write_comparison(config, root, split.image_ids, split.labels, ranks, facts)
    with Tracker(config, root) as tracker:
        rows = tops[f"top{facts['decided_on']}"]
        tracker.table("arms", [{name: str(value) for name, value in row.items()} for row in rows])
        tracker.conclude({f"difference/{row['arm']}": row["difference"] for row in rows})
    return storage.unseal(config, root)


def _of_arms(config: CompareConfig, errors: list[np.ndarray]) -> list[dict[str, Any]]:
    """A row an arm: its errors (seeds x images), and the difference to the first arm's, above zero where it makes more."""
    rows: list[dict[str, Any]] = []
    for arm, wrong in zip(config.arms, errors, strict=True):
        by_seed = wrong.mean(axis=1)
        spread = float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None
        rows.append({"arm": arm.name, "errors": by_seed.tolist(), "error": float(by_seed.mean()), "spread": spread})
        rows[-1] |= _difference(wrong, errors[0]) if wrong is not errors[0] else {"difference": 0.0, "decision": "baseline"}
    corrected = holm([row["p_value"] for row in rows[1:]])
    for row, p_value in zip(rows[1:], corrected, strict=True):
        is_decided = p_value < SIGNIFICANCE
        row |= {"p_holm": p_value, "decision": "undecided"}
        if is_decided:
            row["decision"] = "fewer errors" if row["difference"] < 0 else "more errors"
    return rows


def _difference(wrong: np.ndarray, base: np.ndarray) -> dict[str, Any]:
    differences = wrong.astype(float) - base
    found = {"difference": float(differences.mean())}
    if len(differences) == 1:
        p_value = min(1.0, 2 * min(mcnemar(base[0], wrong[0]), mcnemar(wrong[0], base[0])))
        interval = paired_interval(differences[0])
        return {**found, "p_value": p_value, "interval": interval, "interval_bootstrap": interval}
    p_value, interval = across_seeds(differences.mean(axis=1))
    return {**found, "p_value": p_value, "interval": interval, "interval_bootstrap": bootstrap_interval(differences)}
