"""What a study found, in words that follow from its errors, verdicts and ablations."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from pipeline.artefacts.comparison_facts import ArmRow
from pipeline.artefacts.verdict import Decision, Verdict
from pipeline.paper.policies import CURVE, NUM_CROPS
from pipeline.reporting.ablations import Ablation
from pipeline.reporting.rows import Cell
from pipeline.reporting.wording import interval, p_value, percent, to_decide

WORDS: dict[Decision, str] = {
    "reproduced": "held",
    "inconclusive": "open",
    "not_reproduced": "failed",
}


class Sample(NamedTuple):
    """How many members and images a study has: what its tests count."""

    members: int
    images: int

    def of(self, test: str | None) -> str:
        """Return the sample of a test in words."""
        return f"{self.members} seeds" if test == "Student's t" else f"{self.images:,} images"


class Finding(NamedTuple):
    """What was found for a claim or for a question; `colour` is a decision's."""

    label: str
    colour: Decision
    text: str


class Untested(NamedTuple):
    """Claims that the study cannot test, and why."""

    claims: list[str]
    reason: str


class Findings(NamedTuple):
    """What the report opens with."""

    headline: str
    gauge: list[tuple[str, Decision, list[str]]]
    gauge_words: str
    all: list[Finding]
    untested: list[Untested]

    @property
    def lines(self) -> list[tuple[str, list[str]]]:
        """The findings by their label, for RESULTS.md."""
        labels = ("held", "failed", "decided", "open")
        texts = {label: [each.text for each in self.all if each.label == label] for label in labels}
        return [(label.capitalize(), parts) for label, parts in texts.items() if parts]


def findings(
    cells: Sequence[Cell],
    top: int,
    verdicts: Sequence[Verdict],
    ablations: Sequence[Ablation],
    sample: Sample,
) -> Findings:
    """Return what was found; no figure in it is of its own."""
    tested = [verdict for verdict in verdicts if verdict.decision != "not_run"]
    gauge = [
        (word, decision, [v.claim for v in tested if v.decision == decision])
        for decision, word in WORDS.items()
    ]
    counts = ", ".join(f"{len(claims) or 'none'} {word}" for word, _, claims in gauge)
    able = f"{len(tested)} of {len(verdicts)} claims"
    return Findings(
        headline=_headline(cells, top),
        gauge=gauge,
        gauge_words=f"These data can test {able}: {counts}." if tested else
        f"These data can test none of {len(verdicts)} claims.",
        all=[
            *(Finding(WORDS[v.decision], v.decision, _claim(v, sample)) for v in tested),
            *(finding for ablation in ablations for finding in _ablation(ablation)),
        ],
        untested=_untested(verdicts),
    )


def _headline(cells: Sequence[Cell], top: int) -> str:
    """Return the error of the most models with the most crops, beside the first row's."""
    on_curve = [cell for cell in cells if cell.policy in CURVE]
    most = max(on_curve or cells, key=lambda c: (c.models, NUM_CROPS.get(c.policy, 0)))
    first, bounds = cells[0], most.top1_interval if top == 1 else most.top5_interval
    text = (
        f"{_models(most.models)} with {_crops(most.crops)} {_verb('make', most.models)}"
        f" {percent(_error(most, top))} top-{top} errors (95 % interval {interval(bounds)})"
    )
    if most is first:
        return f"{text}."
    base = "the best single model" if first.models == 1 != most.models else _models(first.models)
    return (
        f"{text}, {_points(most.difference)} than {base} with {_crops(first.crops)}"
        f" ({percent(_error(first, top))})."
    )


def _claim(verdict: Verdict, sample: Sample) -> str:
    """Return a claim that was judged, with its figures."""
    v, measured = verdict, verdict.measured or 0.0
    metric = f"top-{1 if v.metric == 'top1_error' else 5}"
    number = percent(measured) if v.kind == "error" else f"{100 * measured:+.2f} points"
    if v.published is None:
        number = f"{_points(-measured)} {metric} errors"
    figures = [f"95 % interval {interval(v.interval)}"]
    if v.p_holm is not None:
        figures.append(f"p {p_value(v.p_holm, v, '= ')} by Holm")
    figures.append(sample.of(v.test))
    if v.decision == "inconclusive" and v.needed:
        figures.append(f"some {v.needed:,} would decide")
    return f"{v.claim}, {v.text}: {number} ({', '.join(figures)})"


def _ablation(ablation: Ablation) -> list[Finding]:
    """Return the answers to a question, the arms of one decision together."""
    facts = ablation.facts
    base, *arms = ablation.arms[facts.decided_on]
    sample = Sample(facts.num_seeds, facts.num_images)
    ordered = sorted(arms, key=lambda arm: arm.decision)
    found = []
    for decision, alike in groupby(ordered, key=lambda arm: arm.decision):
        group = list(alike)
        is_open = decision == "undecided"
        colour: Decision = (
            "inconclusive"
            if is_open
            else "reproduced" if decision == "fewer errors" else "not_reproduced"
        )
        shown = group if is_open else [max(group, key=lambda arm: abs(arm.difference))]
        named = "; ".join(_arm(arm, base, facts.decided_on, sample) for arm in shown)
        if len(group) > len(shown):
            everyone = _and(arm.arm for arm in group)
            named = f"{decision} in {everyone} than in {base.arm}, most of all {named}"
        found.append(
            Finding("open" if is_open else "decided", colour, f"{facts.question} {named}")
        )
    return found


def _arm(arm: ArmRow, base: ArmRow, top: int, sample: Sample) -> str:
    """Return the difference of an arm to the first arm, with its figures."""
    sign = 1 if arm.difference > 0 else -1
    figures = []
    if arm.interval is not None:
        low, high = sorted(sign * bound for bound in arm.interval)
        figures.append(f"95 % interval {interval((low, high))}")
    if arm.p_holm is not None:
        figures.append(f"p {p_value(arm.p_holm, arm, '= ')} by Holm")
    figures.append(sample.of(arm.test))
    if (needed := to_decide(arm)) != "-":
        figures.append(f"{needed} would decide")
    difference = _points(arm.difference)
    return f"{arm.arm} against {base.arm}: {difference} top-{top} errors ({', '.join(figures)})"


def _untested(verdicts: Sequence[Verdict]) -> list[Untested]:
    """Return the claims that were not judged, those with one reason together."""
    reasons: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.decision == "not_run":
            reasons.setdefault(verdict.words, []).append(verdict.claim)
    return [Untested(claims, reason) for reason, claims in reasons.items()]


def _error(cell: Cell, top: int) -> float:
    return cell.top1_error if top == 1 else cell.top5_error


def _points(difference: float) -> str:
    """Spell a difference of errors.

    >>> _points(-0.0126), _points(0.01), _points(0.0)
    ('1.26 points fewer', '1.00 points more', 'no more and no fewer')
    """
    if difference == 0:
        return "no more and no fewer"
    return f"{100 * abs(difference):.2f} points {'more' if difference > 0 else 'fewer'}"


def _models(number: int) -> str:
    return "One model" if number == 1 else f"{number} models"


def _crops(label: str) -> str:
    return "one crop" if label == "1" else f"{label} crops"


def _verb(verb: str, number: int) -> str:
    return f"{verb}s" if number == 1 else verb


def _and(names: Iterable[str]) -> str:
    """Join names.

    >>> _and(["a"]), _and(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
