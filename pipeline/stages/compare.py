"""Stage: predictions of an ablation's arms -> their differences to the first arm.

Each difference has an interval and a decision.
"""

from itertools import combinations
from pathlib import Path

import numpy as np

from pipeline.artefacts import sealing
from pipeline.artefacts.comparison import write_comparison
from pipeline.artefacts.comparison_facts import (
    ArmRow,
    BestMember,
    ComparisonFacts,
    SealedComparison,
)
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions, best_member
from pipeline.artefacts.scores import blocks
from pipeline.configs.compare import Arm, CompareConfig
from pipeline.statistics.inference import Interval, across_seeds, bootstrap_interval, mcnemar
from pipeline.statistics.label_ranks import rank_of_label
from pipeline.statistics.levels import deciding_top
from pipeline.statistics.paired import Decision, PairedTest, decide, over_images, over_seeds
from pipeline.tracking.tracker import Tracker


def compare(config: CompareConfig, root: Path) -> SealedComparison:
    """Compare every arm with the first, on the same images; return the sealed file.

    With several seeds the test is Student's over seeds. With one seed or one ensemble
    it is McNemar's over images. Several ensembles share members, so their test is sign
    flips over images. A test over images says nothing about other seeds. All p-values
    are corrected by Holm over the arms.
    """
    if config.is_complete(root):
        return sealing.COMPARISON.unseal(config, root)
    first = config.arms[0].members[0]
    hits = Predictions(first, root)
    labels = hits.hits("label")
    ranks = [_ranks(config, arm, root, labels) for arm in config.arms]
    top1, top5 = judge([arm.name for arm in config.arms], ranks, best_members(config, root))
    top = deciding_top(Dataset(first.data, root).num_classes)
    facts = ComparisonFacts(
        question=config.question,
        models=config.models,
        num_images=len(labels),
        policies=[config.policy_of(arm) for arm in config.arms],
        num_seeds=len(config.arms[0].members),
        decided_on=top,
        top1=top1,
        top5=top5,
    )
    write_comparison(config, root, hits.hits("image_id").tolist(), labels, ranks, facts)
    with Tracker(config, root) as tracker:
        rows = facts.arms(top)
        tracker.table("arms", [{name: str(value) for name, value in row} for row in rows])
        tracker.conclude({f"difference/{row.arm}": row.difference for row in rows})
    return sealing.COMPARISON.unseal(config, root)


def best_members(config: CompareConfig, root: Path) -> list[int] | None:
    """Return for each arm its member with the lowest top-1 error at one crop.

    Returns None where ensembles or single members are compared.
    """
    if config.models > 1 or len(config.arms[0].members) == 1:
        return None
    return [best_member(arm.members, root) for arm in config.arms]


def judge(
    names: list[str], ranks: list[np.ndarray], best: list[int] | None
) -> tuple[list[ArmRow], list[ArmRow]]:
    """Return a row for each arm, for top-1 and for top-5 errors.

    `ranks` say where the label ranks: for each arm, members or ensembles x images.
    `best` is the best member of each arm; it is None where the images, not the seeds,
    are the sample.
    """
    top1, top5 = (_of_arms(names, [of_arm >= top for of_arm in ranks], best) for top in (1, 5))
    return top1, top5


def _ranks(config: CompareConfig, arm: Arm, root: Path, labels: np.ndarray) -> np.ndarray:
    """Return where the label ranks for an arm: members or ensembles x images.

    Sums are in float64, over some images at a time.
    """
    if config.models == 1:
        policy = config.policy_of(arm)
        return np.stack([Predictions(member, root).ranks(policy) for member in arm.members])
    scores = [Predictions(member, root).scores(config.policy_of(arm)) for member in arm.members]
    ranks = []
    for rows in blocks(len(labels)):
        members = [each[rows].astype(np.float64) for each in scores]
        ranks.append(
            [
                rank_of_label(sum(ensemble, start=np.zeros(1)), labels[rows])
                for ensemble in combinations(members, config.models)
            ]
        )
    return np.concatenate(ranks, axis=1)


def _of_arms(names: list[str], errors: list[np.ndarray], best: list[int] | None) -> list[ArmRow]:
    """Return a row for each arm: its errors, and the difference to the first arm's.

    The difference is above zero where the arm makes more errors.
    """
    base = errors[0]
    tests = [_test(wrong, base, best is not None) for wrong in errors[1:]]
    outcomes = [None, *zip(tests, decide(tests), strict=True)]
    rows = []
    for k, (name, wrong, verdict) in enumerate(zip(names, errors, outcomes, strict=True)):
        each = wrong.mean(axis=1)
        row = ArmRow(
            arm=name,
            errors=each.tolist(),
            error=float(each.mean()),
            spread=float(each.std(ddof=1)) if len(each) > 1 else None,
            difference=0.0,
            decision="baseline",
            error_interval=None if best is None else _error_interval(each),
            best=None if best is None else _best(wrong, best[k], base[best[0]]),
        )
        rows.append(
            row if verdict is None else _with_test(row, wrong - base.astype(float), *verdict)
        )
    return rows


def _error_interval(each: np.ndarray) -> Interval:
    low, high = across_seeds(each)[1]
    return Interval(max(0.0, low), min(1.0, high))


def _best(wrong: np.ndarray, member: int, of_first: np.ndarray) -> BestMember:
    return BestMember(
        member=member,
        error=float(wrong[member].mean()),
        p_value=mcnemar(of_first, wrong[member]),
    )


def _with_test(
    row: ArmRow, differences: np.ndarray, test: PairedTest, decision: Decision
) -> ArmRow:
    """Return the row with its test; `differences` are members x images."""
    is_of_seeds = test.sample == "seeds"
    needed = test.needed(decision.level)
    return ArmRow(
        arm=row.arm,
        errors=row.errors,
        error=row.error,
        spread=row.spread,
        error_interval=row.error_interval,
        best=row.best,
        difference=test.difference,
        interval_bootstrap=bootstrap_interval(
            differences if is_of_seeds else differences.mean(axis=0)[None]
        ),
        test=test.name,
        p_value=test.p_value,
        interval=test.interval,
        seeds_to_decide=needed if is_of_seeds else None,
        images_to_decide=None if is_of_seeds else needed,
        p_holm=decision.p_holm,
        decision=decision.outcome,
    )


def _test(wrong: np.ndarray, base: np.ndarray, are_seeds: bool) -> PairedTest:
    """Test over seeds where they are the sample, else over images.

    Ensembles of the same members are no sample.
    """
    if are_seeds:
        return over_seeds(wrong, base)
    if len(wrong) == 1:
        return over_images(wrong[0], base[0])
    return over_images(wrong.mean(axis=0), base.mean(axis=0))
