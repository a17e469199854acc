"""Stage: results -> a verdict on each claim of the paper."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from pipeline.artefacts.result import Result
from pipeline.artefacts.verdict import Decision, Verdict, read_verdicts, write_verdicts
from pipeline.configs.study import CheckConfig, PublishedRecipe, PublishedWeights
from pipeline.errors import present
from pipeline.paper.published import CLAIMS, NEIGHBOURS, Cell, Claim, Neighbour
from pipeline.stages import comparable
from pipeline.stages.comparable import Comparability
from pipeline.stages.family import family_verdicts, networks_errors
from pipeline.stages.tolerances import against
from pipeline.statistics.inference import Interval, paired_interval
from pipeline.statistics.levels import deciding_top
from pipeline.statistics.paired import PairedTest, decide, of_members, over_images
from pipeline.tracking.tracker import Tracker

OUTCOMES: dict[str, tuple[Decision, str]] = {
    "fewer errors": ("reproduced", "fewer errors, and chance would rarely do as much"),
    "more errors": ("not_reproduced", "more errors, and chance would rarely do as much"),
}


def check(config: CheckConfig, root: Path) -> list[Verdict]:
    """Judge every published claim on the study's results.

    Claims with a number need the paper's network and its validation images, which are
    recognised by their content. Claims of order are judged at any scale, by two-sided
    paired tests at the 5 % level, corrected by Holm over these claims.
    """
    if config.is_complete(root):
        return read_verdicts(config, root)[0]
    verdicts = (family_verdicts if config.family else judge_all)(config, root)
    networks = networks_errors(config, root) if config.family or config.blacklist else None
    write_verdicts(config, root, verdicts, networks)
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
    """Return the verdict on each claim, from the hits of the results."""
    cells = {cell: Result(result, root) for cell, result in config.cells.items()}
    first = Result(config.results[0], root)
    top = deciding_top(first.facts.num_classes)
    data = comparable.recognised(first, root)
    members = list({m.hash: m for result in config.results for m in result.members}.values())
    if len({member.data.hash for member in members}) > 1:
        data = Comparability("the study's results are of several data sets", "")
    training = comparable.trained_on(members, root)
    paper = comparable.as_the_papers(members, data, training)
    verdicts = {claim.id: _not_run(claim, top) for claim in CLAIMS}
    tests: dict[str, PairedTest] = {}
    for claim in CLAIMS:
        verdict = verdicts[claim.id]
        if gap := _gap(claim, cells):
            verdicts[claim.id] = replace(verdict, words=gap)
        elif claim.published is None:
            tests[claim.id] = _test(claim, cells, top)
        elif paper.obstacle:
            verdicts[claim.id] = replace(verdict, words=paper.obstacle)
        else:
            measured, interval = _measured(claim, cells)
            verdicts[claim.id] = against(verdict, measured, interval, paper.remark)
    verdicts |= _of_order(verdicts, tests)
    if (publication := config.neighbour) is None:
        return list(verdicts.values())
    neighbour = next(each for each in NEIGHBOURS if each.id == publication.id)
    beside = (
        comparable.as_published_weights(members, neighbour, data)
        if isinstance(publication, PublishedWeights)
        else comparable.as_caffes(members, data, training)
    )
    return [*verdicts.values(), *_neighbour_verdicts(publication, neighbour, cells, beside)]


def _gap(claim: Claim, cells: Mapping[Cell, Result]) -> str:
    """Say why the results of a study cannot decide a claim; nothing where they can."""
    wanted = [cell for cell in (claim.cell, claim.base) if cell]
    for cell in wanted:
        if cell not in cells:
            return f"the study has no result for {_spell(cell)}"
    members = [cells[cell].config.members for cell in wanted]
    if members[0] != members[-1]:
        return f"{' and '.join(map(_spell, wanted))}: the two results are of different members"
    if len({member.classifier.science for member in members[0]}) < len(members[0]):
        return "one network counts as several members of the study"
    return ""


def _not_run(claim: Claim, top: int) -> Verdict:
    has_number = claim.published is not None
    return Verdict(
        claim=claim.id,
        text=claim.text,
        kind="error" if claim.kind == "error" else "gain",
        decision="not_run",
        words="",
        metric="top5_error" if has_number else f"top{top}_error",
        published=claim.published,
        tolerance=claim.tolerance,
    )


def _test(claim: Claim, cells: Mapping[Cell, Result], top: int) -> PairedTest:
    """Test a claim of order.

    Crops against crops are tested over the study's members, as in an ablation of crop
    counts. The ensemble against its mean member is tested over images: one ensemble is
    no sample, so this says nothing about other seeds.
    """
    result = cells[claim.cell]
    if claim.base:
        return of_members(result.errors_of_members(top), cells[claim.base].errors_of_members(top))
    return over_images(result.errors(top), result.errors_of_members(top).mean(axis=0))


def _of_order(
    verdicts: Mapping[str, Verdict], tests: Mapping[str, PairedTest]
) -> dict[str, Verdict]:
    """Return the verdicts on claims of order, judgement by all their tests together."""
    verdicts_on_order = {}
    for (claim, test), judgement in zip(tests.items(), decide(list(tests.values())), strict=True):
        needed = None
        if judgement.outcome in OUTCOMES:
            decision, words = OUTCOMES[judgement.outcome]
        else:
            decision = "inconclusive"
            words = f"the difference is within chance on this many {test.sample}"
            if needed := test.needed(judgement.level):
                words += f"; some {needed:,} would decide on one as large, four times of five"
        low, high = test.interval
        verdicts_on_order[claim] = replace(
            verdicts[claim],
            decision=decision,
            words=words,
            measured=-test.difference,
            interval=(-high, -low),
            p_value=test.p_value,
            p_holm=judgement.p_holm,
            test=test.name,
            needed=needed,
        )
    return verdicts_on_order


def _measured(claim: Claim, cells: Mapping[Cell, Result]) -> tuple[float, Interval]:
    """Return a top-5 error, or its gain over the base, with its 95 % interval."""
    result = cells[claim.cell]
    if claim.base is None:
        low, high = result.facts.top5_interval
        return result.facts.top5_error, Interval(low, high)
    gains = cells[claim.base].errors(5).astype(float) - result.errors(5)
    return float(gains.mean()), paired_interval(gains)


def _neighbour_verdicts(
    publication: PublishedWeights | PublishedRecipe,
    neighbour: Neighbour,
    cells: Mapping[Cell, Result],
    data: Comparability,
) -> list[Verdict]:
    """Return the verdicts on both errors of published weights or a published recipe."""
    tolerances = (neighbour.tolerance, neighbour.top5_tolerance or neighbour.tolerance)
    if isinstance(publication, PublishedRecipe):
        tolerances = (
            present(neighbour.recipe_tolerance, "recipe_tolerance"),
            present(neighbour.recipe_top5_tolerance, "recipe_top5_tolerance"),
        )
    return [
        _of_neighbour(neighbour, top, tolerance, cells, data)
        for top, tolerance in zip((1, 5), tolerances, strict=True)
    ]


def _of_neighbour(
    neighbour: Neighbour,
    top: int,
    tolerance: float,
    cells: Mapping[Cell, Result],
    data: Comparability,
) -> Verdict:
    published = neighbour.top1_error if top == 1 else neighbour.top5_error
    crops = f"{neighbour.crops} crop{'s' if neighbour.crops > 1 else ''}"
    verdict = Verdict(
        claim=f"{neighbour.id}{'a' if top == 1 else 'b'}",
        text=f"{neighbour.name}, {crops}: top-{top} error {100 * published:.2f} %",
        kind="error",
        decision="not_run",
        words="",
        metric=f"top{top}_error",
        published=published,
        tolerance=tolerance,
    )
    cell = Cell(1, neighbour.crops)
    if cell not in cells:
        return replace(verdict, words=f"the study has no result for {_spell(cell)}")
    if data.obstacle:
        return replace(verdict, words=data.obstacle)
    facts = cells[cell].facts
    measured, interval = (
        (facts.top1_error, facts.top1_interval)
        if top == 1
        else (facts.top5_error, facts.top5_interval)
    )
    return against(verdict, measured, Interval(*interval), data.remark)


def _spell(cell: Cell) -> str:
    models = (
        "an ensemble"
        if cell.models == "all"
        else f"{cell.models} model{'s' if cell.models > 1 else ''}"
    )
    return f"{models}, {cell.crops} crop{'s' if cell.crops > 1 else ''}"
