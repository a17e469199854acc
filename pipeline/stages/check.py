"""Stage: results -> a verdict on each claim of the paper."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from pipeline.artefacts.result import Result
from pipeline.artefacts.verdict import Decision, Verdict, read_verdicts, write_verdicts
from pipeline.configs.study import CheckConfig
from pipeline.errors import present
from pipeline.paper.published import CLAIMS, DATASET, Cell, Claim
from pipeline.stages.comparable import not_the_papers
from pipeline.statistics.inference import holm, mcnemar, paired_interval, sign_flip
from pipeline.statistics.levels import SIGNIFICANCE, deciding_top
from pipeline.statistics.power import paired_images_to_decide
from pipeline.tracking.tracker import Tracker


def check(config: CheckConfig, root: Path) -> list[Verdict]:
    """Judge every published claim on the study's results.

    Claims with a number need the paper's data set and input size; claims of order are
    judged at any scale by one-sided paired tests at the 5 % level, corrected by Holm
    over these claims.
    """
    if config.is_complete(root):
        return read_verdicts(config, root)[0]
    verdicts = judge_all(config, root)
    write_verdicts(config, root, verdicts)
    with Tracker(config, root) as tracker:
        decisions = [verdict.decision for verdict in verdicts]
        tracker.table(
            "verdicts",
            [asdict(verdict) | {"interval": str(verdict.interval or "")} for verdict in verdicts],
        )
        tracker.conclude(
            {decision: decisions.count(decision) for decision in sorted(set(decisions))}
        )
    return verdicts


def judge_all(config: CheckConfig, root: Path) -> list[Verdict]:
    """The verdict on each claim, from the hits of the results."""
    cells = {cell: Result(named, root) for cell, named in config.cells.items()}
    facts = Result(config.results[0], root).facts
    top = deciding_top(facts["num_classes"])
    members = [member for named in config.results for member in named.members]
    elsewhere = not_the_papers(
        [(member.data, member.classifier) for member in members],
        facts["num_images"],
        facts["num_classes"],
    )
    num_tests = sum(claim.published is None and not _missing(claim, cells) for claim in CLAIMS)
    level = 2 * SIGNIFICANCE / max(1, num_tests)  # of the smallest one-sided p-value by Holm
    judged = [_judge(claim, cells, top, elsewhere, level) for claim in CLAIMS]
    tests = {
        k: (verdict.p_value or 0.0, worse)
        for k, (verdict, worse) in enumerate(judged)
        if worse is not None
    }
    better, worse = holm([p for p, _ in tests.values()]), holm([p for _, p in tests.values()])
    verdicts = [verdict for verdict, _ in judged]
    for k, p_better, p_worse in zip(tests, better, worse, strict=True):
        decision: Decision = "inconclusive"
        p_value, p_holm = verdicts[k].p_value, p_better
        words = "the difference is within chance on this many images"
        if p_better < SIGNIFICANCE:
            decision, words = "reproduced", "fewer errors, and chance would rarely do as much"
        elif p_worse < SIGNIFICANCE:
            decision, words = "not_reproduced", "more errors, and chance would rarely do as much"
            p_value, p_holm = tests[k][1], p_worse
        elif verdicts[k].images_to_decide:
            words += f"; some {verdicts[k].images_to_decide:,} would decide on one as large"
        verdicts[k] = replace(
            verdicts[k], decision=decision, words=words, p_value=p_value, p_holm=p_holm
        )
    return verdicts


def _missing(claim: Claim, cells: Mapping[Cell, Result]) -> list[Cell]:
    return [cell for cell in (claim.cell, claim.base) if cell and cell not in cells]


def _judge(
    claim: Claim, cells: Mapping[Cell, Result], top: int, elsewhere: str | None, level: float
) -> tuple[Verdict, float | None]:
    """The verdict on one claim; of a claim of order what the tests say, p for "more
    errors" too, with no decision yet.
    """
    has_number = claim.published is not None
    verdict = Verdict(
        claim=claim.id,
        text=claim.text,
        kind="error" if claim.kind == "error" else "gain",
        decision="not_run",
        words="",
        metric="top5_error" if has_number else f"top{top}_error",
        published=claim.published,
        tolerance=claim.tolerance,
    )
    if missing := _missing(claim, cells):
        return replace(verdict, words=f"the study has no result for {_spell(missing[0])}"), None
    result, base = cells[claim.cell], cells[claim.base] if claim.base else None
    if not has_number:
        return _judge_order(verdict, result, base, top, level)
    if elsewhere:
        return (
            replace(
                verdict,
                words=f"the published number is for {DATASET} at 224 px; this study {elsewhere}",
            ),
            None,
        )
    return _judge_number(verdict, result, base), None


def _judge_order(
    verdict: Verdict, result: Result, base: Result | None, top: int, level: float
) -> tuple[Verdict, float]:
    """Fewer errors than the base, or than the mean member: by a one-sided paired test
    each way.
    """
    after = result.errors(top)
    before = base.errors(top) if base else result.member_errors(top)
    differences = before.astype(float) - after
    p_better, p_worse = (
        (mcnemar(before, after), mcnemar(after, before))
        if base
        else (sign_flip(differences), sign_flip(-differences))
    )
    tested = replace(
        verdict,
        measured=float(differences.mean()),
        interval=paired_interval(differences),
        p_value=p_better,
    )
    return (
        replace(tested, images_to_decide=paired_images_to_decide(differences, level=level)),
        p_worse,
    )


def _judge_number(verdict: Verdict, result: Result, base: Result | None) -> Verdict:
    """A published top-5 error, or a gain in it, against the measured one: inside the
    tolerance, outside, or undecided.
    """
    published = present(verdict.published, "a published number")
    tolerance = present(verdict.tolerance, "its tolerance")
    if base is None:
        measured, (low, high) = result.facts["top5_error"], result.facts["top5_interval"]
    else:
        differences = base.errors(5).astype(float) - result.errors(5)
        measured, (low, high) = float(differences.mean()), paired_interval(differences)
    nearest = min(max(published, low), high)
    decision: Decision = "not_reproduced"
    words = "outside the tolerance"
    if abs(measured - published) <= tolerance:
        decision, words = "reproduced", "within the tolerance"
    elif abs(nearest - published) <= tolerance:
        decision, words = "inconclusive", "outside the tolerance, but its interval reaches into it"
    return replace(verdict, decision=decision, words=words, measured=measured, interval=(low, high))


def _spell(cell: Cell) -> str:
    models = (
        "an ensemble"
        if cell.models == "all"
        else f"{cell.models} model{'s' if cell.models > 1 else ''}"
    )
    return f"{models}, {cell.crops} crop{'s' if cell.crops > 1 else ''}"
