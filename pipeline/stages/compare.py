"""Stage: predictions of the arms of an ablation -> differences to the first arm, with
intervals and a decision.
"""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artefacts import sealing
from pipeline.artefacts.comparison import write_comparison
from pipeline.artefacts.contents import ComparisonFacts, SealedComparison
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions, best_member
from pipeline.configs.compare import Arm, CompareConfig
from pipeline.statistics.inference import Interval, across_seeds, bootstrap_interval, mcnemar
from pipeline.statistics.label_ranks import rank_of_label
from pipeline.statistics.levels import deciding_top
from pipeline.statistics.paired import PairedTest, decide, over_images, over_seeds
from pipeline.tracking.tracker import Tracker

IMAGES_AT_ONCE = 4096  # ours: bounds the memory of sums of probabilities


def compare(config: CompareConfig, root: Path) -> SealedComparison:
    """Compare every arm with the first, seed by seed on the same images; returns what
    the sealed file holds.

    The test is Student's over seeds, corrected by Holm over the arms. Of a single seed
    or ensemble it is McNemar's over images, of several ensembles sign flips over
    images, as they share members: these say nothing of other seeds.
    """
    if config.is_complete(root):
        return sealing.unseal(config, root)
    first = config.arms[0].members[0]
    hits = Predictions(first, root)
    labels = hits.hits("label")
    ranks = [_ranks(config, arm, root, labels) for arm in config.arms]
    top1, top5 = judge([arm.name for arm in config.arms], ranks, best_members(config, root))
    top = deciding_top(Dataset(first.data, root).num_classes)
    facts: ComparisonFacts = {
        "question": config.question,
        "models": config.models,
        "num_images": len(labels),
        "policies": [config.policy_of(arm) for arm in config.arms],
        "num_seeds": len(config.arms[0].members),
        "decided_on": top,
        "top1": top1,
        "top5": top5,
    }
    write_comparison(config, root, hits.hits("image_id").tolist(), labels, ranks, facts)
    with Tracker(config, root) as tracker:
        rows = top1 if top == 1 else top5
        tracker.table("arms", [{name: str(value) for name, value in row.items()} for row in rows])
        tracker.conclude({f"difference/{row['arm']}": row["difference"] for row in rows})
    return sealing.unseal(config, root)


def best_members(config: CompareConfig, root: Path) -> list[int] | None:
    """The member of each arm with the lowest top-1 error at one crop; None where
    ensembles or single members are compared.
    """
    if config.models > 1 or len(config.arms[0].members) == 1:
        return None
    return [best_member(arm.members, root) for arm in config.arms]


def judge(
    names: list[str], ranks: list[np.ndarray], best: list[int] | None
) -> tuple[list[dict[str, Any]], ...]:
    """For top-1 and top-5 errors: a row an arm, from where the label ranks (of each
    arm, members or ensembles x images).

    `best` is the member of each arm that was chosen as its best; None where the images,
    not the seeds, are the sample.
    """
    return tuple(_of_arms(names, [of_arm >= top for of_arm in ranks], best) for top in (1, 5))


def _ranks(config: CompareConfig, arm: Arm, root: Path, labels: np.ndarray) -> np.ndarray:
    """Members, or ensembles, of an arm x images. Sums are made in float64, some images
    at a time.
    """
    if config.models == 1:
        policy = config.policy_of(arm)
        return np.stack([Predictions(member, root).ranks(policy) for member in arm.members])
    scores = [
        Predictions(member, root).probabilities(config.policy_of(arm)) for member in arm.members
    ]
    ranks = [
        [
            rank_of_label(
                sum((k[part].astype(np.float64) for k in chosen), start=np.zeros(1)), labels[part]
            )
            for chosen in combinations(scores, config.models)
        ]
        for part in (
            slice(start, start + IMAGES_AT_ONCE) for start in range(0, len(labels), IMAGES_AT_ONCE)
        )
    ]
    return np.concatenate(ranks, axis=1)


def _of_arms(
    names: list[str], errors: list[np.ndarray], best: list[int] | None
) -> list[dict[str, Any]]:
    """A row an arm: its errors, and the difference to the first arm's, above zero where
    it makes more.
    """
    base = errors[0]
    rows = [_errors(name, wrong) for name, wrong in zip(names, errors, strict=True)]
    if best is not None:
        for row, wrong, member in zip(rows, errors, best, strict=True):
            low, high = across_seeds(wrong.mean(axis=1))[1]
            row["error_interval"] = Interval(max(0.0, low), min(1.0, high))
            row["best"] = {
                "member": member,
                "error": float(wrong[member].mean()),
                "p_value": mcnemar(base[best[0]], wrong[member]),
            }
    rows[0] |= {"difference": 0.0, "decision": "baseline"}
    tests = [_tested(wrong, base, best is not None) for wrong in errors[1:]]
    for row, wrong, test, decided in zip(rows[1:], errors[1:], tests, decide(tests), strict=True):
        differences = wrong.astype(float) - base
        row |= {
            "difference": test.difference,
            "interval_bootstrap": bootstrap_interval(
                differences if best is not None else differences.mean(axis=0)[None]
            ),
            "test": test.name,
            "p_value": test.p_value,
            "interval": test.interval,
            f"{test.sample}_to_decide": test.needed(decided.level),
            "p_holm": decided.p_holm,
            "decision": decided.outcome,
        }
    return rows


def _errors(name: str, wrong: np.ndarray) -> dict[str, Any]:
    each = wrong.mean(axis=1)
    spread = float(each.std(ddof=1)) if len(each) > 1 else None
    return {"arm": name, "errors": each.tolist(), "error": float(each.mean()), "spread": spread}


def _tested(wrong: np.ndarray, base: np.ndarray, are_seeds: bool) -> PairedTest:
    """Of several seeds, by these; of a single one, or of ensembles of the same members,
    which are no sample, by the images.
    """
    if are_seeds:
        return over_seeds(wrong, base)
    if len(wrong) == 1:
        return over_images(wrong[0], base[0])
    return over_images(wrong.mean(axis=0), base.mean(axis=0))
