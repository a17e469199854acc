"""Stage: results -> a verdict on each claim of the paper."""

from pathlib import Path

import numpy as np

from pipeline.adapters.tracking import Tracker
from pipeline.artefacts.result import Result
from pipeline.artefacts.verdict import Verdict, read_verdicts, write_verdicts
from pipeline.paper.crops import NUM_CROPS
from pipeline.paper.published import CLAIMS, DATASET, Cell, Claim
from pipeline.paper.statistics import SIGNIFICANCE, mcnemar, paired_interval, sign_flip
from pipeline.study import CheckConfig

FEW_CLASSES = 25  # ours: among so few, five guesses are nearly always right, so the claims are judged on top-1


def check(config: CheckConfig, root: Path) -> list[Verdict]:
    """Judge every published claim on the study's results.

    Claims with a number need the paper's data set and input size; claims of order are judged at any scale by one-sided
    paired tests at the 5 % level.
    """
    if config.is_complete(root):
        return read_verdicts(config, root)[0]
    cells: dict[Cell, Result] = {}
    for named in config.results:
        result = Result(named, root)
        crops = NUM_CROPS[named.policy]
        cells[Cell(named.num_models, crops)] = result
        if named.num_models > 1:
            cells[Cell("all", crops)] = result
    first = config.results[0].members[0]
    at_paper_scale = first.data.name == DATASET and first.run.network.input_size == 224
    top = 1 if next(iter(cells.values())).facts["num_classes"] < FEW_CLASSES else 5
    where = f"{first.data.name}, {first.run.network.input_size} px"
    verdicts = [_judge(claim, cells, top, None if at_paper_scale else where) for claim in CLAIMS]
    write_verdicts(config, root, verdicts)
    with Tracker(config, root) as tracker:
        decisions = [verdict.decision for verdict in verdicts]
        tracker.summarise({decision: decisions.count(decision) for decision in sorted(set(decisions))})
    return verdicts


def _judge(claim: Claim, cells: dict[Cell, Result], top: int, elsewhere: str | None) -> Verdict:
    """The verdict on one claim. `elsewhere` names the study's scale where it is not the paper's."""
    metric = f"top{top}_error"
    known = {"claim": claim.id, "text": claim.text, "published": claim.published, "tolerance": claim.tolerance}
    for cell in filter(None, (claim.cell, claim.base)):
        if cell not in cells:
            words = f"the study has no result for {_spell(cell)}"
            return Verdict(decision="not_run", words=words, metric=metric, **known)
    result, base = cells[claim.cell], cells.get(claim.base) if claim.base else None

    if claim.published is not None and claim.tolerance is not None:
        if elsewhere:
            words = f"the published number is for {DATASET} at 224 px; this study ran on {elsewhere}"
            return Verdict(decision="not_run", words=words, metric="top5_error", **known)
        return _judge_number(claim, result, base)

    after = result.errors(top)
    before = base.errors(top) if base else result.member_errors(top)
    differences = before.astype(float) - after
    p_value = mcnemar(before, after) if base else sign_flip(differences)
    gain = float(differences.mean())
    if p_value < SIGNIFICANCE:
        decision, words = "reproduced", "fewer errors, and chance would rarely do as much"
    elif (mcnemar(after, before) if base else sign_flip(-differences)) < SIGNIFICANCE:
        decision, words = "not_reproduced", "more errors, and chance would rarely do as much"
    else:
        decision, words = "inconclusive", "the difference is within chance on this many images"
    return Verdict(
        decision=decision, words=words, metric=metric, measured=gain, interval=paired_interval(differences), p_value=p_value, **known
    )


def _judge_number(claim: Claim, result: Result, base: Result | None) -> Verdict:
    """A published top-5 error, or a gain in it, against the measured one: inside the tolerance, outside, or undecided."""
    assert claim.published is not None and claim.tolerance is not None
    if base is None:
        measured, (low, high) = result.facts["top5_error"], result.facts["top5_interval"]
    else:
        differences = base.errors(5).astype(float) - result.errors(5)
        measured, (low, high) = float(np.mean(differences)), paired_interval(differences)
    nearest = min(max(claim.published, low), high)
    if abs(measured - claim.published) <= claim.tolerance:
        decision, words = "reproduced", "within the tolerance"
    elif abs(nearest - claim.published) <= claim.tolerance:
        decision, words = "inconclusive", "outside the tolerance, but its interval reaches into it"
    else:
        decision, words = "not_reproduced", "outside the tolerance"
    return Verdict(
        claim=claim.id,
        text=claim.text,
        decision=decision,
        words=words,
        metric="top5_error",
        published=claim.published,
        tolerance=claim.tolerance,
        measured=measured,
        interval=(low, high),
    )


def _spell(cell: Cell) -> str:
    models = "an ensemble" if cell.models == "all" else f"{cell.models} model{'s' if cell.models > 1 else ''}"
    return f"{models}, {cell.crops} crop{'s' if cell.crops > 1 else ''}"
