"""What a study found, in words that follow from its errors, verdicts and ablations."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from pipeline.artefacts.comparison_facts import ArmRow
from pipeline.artefacts.verdict import Decision, Verdict
from pipeline.paper.policies import CURVE, NUM_CROPS, in_crops
from pipeline.reporting.ablations import Ablation
from pipeline.reporting.rows import Cell
from pipeline.reporting.wording import interval, p_value, percent, to_decide

WORDS: dict[Decision, str] = {
    "reproduced": "held",
    "inconclusive": "open",
    "not_reproduced": "failed",
}


DECISIONS: dict[str, tuple[str, Decision]] = {  # of arms: a label and a colour
    "fewer errors": ("decided", "reproduced"),
    "more errors": ("decided", "not_reproduced"),
    "undecided": ("open", "inconclusive"),
}
LABELS = ("held", "failed", "decided", "open")  # in this order


class Sample(NamedTuple):
    """How many members and images a study has: what its tests count."""

    members: int
    images: int

    def of(self, test: str | None) -> str:
        """Return the sample of a test in words."""
        return f"{self.members} seeds" if test == "Student's t" else f"{self.images:,} images"


class Finding(NamedTuple):
    """What was found for a claim or for a question; `colour` is a decision's.

    `figures` are the interval, the corrected p-value and the sample.
    """

    label: str
    colour: Decision
    text: str
    figures: str

    def __str__(self) -> str:
        return f"{self.text} ({self.figures})"


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
        return [
            (label.capitalize(), [str(finding) for finding in alike])
            for label, alike in groupby(self.all, key=lambda finding: finding.label)
        ]


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
        headline=headline(cells, top),
        gauge=gauge,
        gauge_words=f"This study tests {able}: {counts}."
        if tested
        else f"This study tests none of {len(verdicts)} claims.",
        all=sorted(
            [
                *(_claim(verdict, sample) for verdict in tested),
                *(finding for ablation in ablations for finding in _ablation(ablation)),
            ],
            key=lambda finding: LABELS.index(finding.label),
        ),
        untested=_untested(verdicts),
    )


def largest(cells: Sequence[Cell]) -> Cell:
    """Return the row of the most models with the most crops, of the paper's if any."""
    on_curve = [cell for cell in cells if cell.policy in CURVE]
    return max(on_curve or cells, key=lambda c: (c.models, NUM_CROPS.get(c.policy, 0)))


def headline(cells: Sequence[Cell], top: int) -> str:
    """Return the error of the largest row in words, beside the first row's."""
    most = largest(cells)
    first, bounds = cells[0], most.top1_interval if top == 1 else most.top5_interval
    text = (
        f"{_models(most.models)} with {_crops(most.crops)} {_verb('make', most.models)}"
        f" {percent(_error(most, top))} top-{top} errors (95 % interval {interval(bounds)})"
    )
    text = text[0].upper() + text[1:]
    if most is first:
        return f"{text}."
    base = "the best single model" if first.models == 1 != most.models else _models(first.models)
    return (
        f"{text}, {_points(most.difference)} than {base} with {_crops(first.crops)}"
        f" ({percent(_error(first, top))})."
    )


def _claim(verdict: Verdict, sample: Sample) -> Finding:
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
    text = f"{v.claim}, {v.text}: {number}"
    return Finding(WORDS[v.decision], v.decision, text, ", ".join(figures))


def _ablation(ablation: Ablation) -> list[Finding]:
    """Return the answers to a question, the arms of one decision together."""
    facts = ablation.facts
    base, *arms = ablation.arms[facts.decided_on]
    sample = Sample(facts.num_seeds, facts.num_images)
    found = []
    for decision, alike in groupby(sorted(arms, key=_decision), key=_decision):
        group = list(alike)
        label, colour = DECISIONS[decision]
        widest = max(group, key=lambda arm: abs(arm.difference))
        text = (
            f"\u201c{widest.arm}\u201d makes {_points(widest.difference)} top-{facts.decided_on}"
            f" errors than \u201c{base.arm}\u201d"
        )
        figures = _figures(widest, sample)
        if others := [arm for arm in group if arm is not widest]:
            figures += f"; {decision} too: {_and(others)}"
        found.append(Finding(label, colour, f"{facts.question} {text}", figures))
    return found


def _decision(arm: ArmRow) -> str:
    return arm.decision


def _figures(arm: ArmRow, sample: Sample) -> str:
    """Return the interval, the p-value and the sample of an arm's difference."""
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
    return ", ".join(figures)


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
    return "one model" if number == 1 else f"{number} models"


def _crops(label: str) -> str:
    return "one crop" if label == "1" else in_crops(label)


def _verb(verb: str, number: int) -> str:
    return f"{verb}s" if number == 1 else verb


def _and(arms: Sequence[ArmRow]) -> str:
    """Join the names of arms in quotation marks."""
    *first, last = (f"\u201c{arm.arm}\u201d" for arm in arms)
    return f"{', '.join(first)} and {last}" if first else last
