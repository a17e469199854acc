"""The verdict on a measured number, against a published one and its tolerance."""

from dataclasses import replace

from pipeline.artefacts.verdict import Decision, Verdict
from pipeline.errors import present
from pipeline.statistics.inference import Interval


def against(verdict: Verdict, measured: float, interval: Interval, remark: str) -> Verdict:
    """Return the verdict on a measured number, against the published one.

    The number is inside the tolerance, outside, or undecided.
    """
    published = present(verdict.published, "a published number")
    tolerance = present(verdict.tolerance, "its tolerance")
    nearest = min(max(published, interval.low), interval.high)
    decision: Decision = "not_reproduced"
    words = "outside the tolerance"
    if abs(measured - published) <= tolerance:
        decision, words = "reproduced", "within the tolerance"
    elif abs(nearest - published) <= tolerance:
        decision, words = "inconclusive", "outside the tolerance, but its interval reaches into it"
    return replace(
        verdict,
        decision=decision,
        words=f"{words}; {remark}",
        measured=measured,
        interval=(interval.low, interval.high),
    )
