"""Charts as inline SVG, by Altair and vl-convert.

A page with such charts needs no script and makes no request: the values that a pointer
shows are the titles of marks. A colour has one meaning on a page: a number of models, a
number of crops, a member, or a decision.
"""

import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

import altair as alt
import vl_convert
from PIL import Image

from pipeline.reporting.rows import CropPoint, CurvePoint, EnsembleSize, ForestLine, Telemetry

WIDTH, HEIGHT = 360, 220  # a telephone's width, so that labels stay legible there
# readable on a light and on a dark page
INK = "#7a8290"
ONE_MODEL, ENSEMBLES = "#2f7fd0", ("#8e63ce", "#b79be0", "#5f3a9e")
MEMBERS = ["#2a9aa5", "#a0714f", "#8a8f2e", "#6b7f99", "#7cc4c9", "#c9a68c", "#4d7c6f", "#a9b06a"]
CROPS = alt.SchemeParams(name="purplered", extent=[0.2, 0.85])
DECISIONS = {"fewer errors": "#2f9a5b", "undecided": "#c08a1e", "more errors": "#d0505a"}
# labels are a little wider than the renderer measures
PADDING = {"left": 16, "right": 5, "top": 5, "bottom": 5}
NAMED_MARK = re.compile(r'<(path|line)( aria-label="([^"]*)"[^>]*)/>')
WORDS = alt.Description("words:N")


def errors_by_crops(
    measured: Sequence[CropPoint], paper: Sequence[CropPoint], titles: tuple[str, str]
) -> str:
    """Draw the error by crops, a line for each number of models, and the paper's.

    The paper's lie in a panel of their own. There a point is as tall as in the other.
    """
    crops = sorted({point.crops for point in (*measured, *paper)})
    models = _colours(point.models for point in (*measured, *paper))
    bounds = [_bounds(points) for points in (measured, paper)]
    span = 1.1 * max(high - low for low, high in bounds)
    panels = []
    for points, title, (low, high) in zip((measured, paper), titles, bounds, strict=True):
        start = max(0.0, min((low + high - span) / 2, 100 - span))
        base = alt.Chart(
            _data(
                (
                    point.plain(),
                    f"{_count(point.models, 'model')}, {_count(point.crops, 'crop')}:"
                    f" {point.error:.2f} %{_range(point.low, point.high)}",
                )
                for point in points
            ),
            title=alt.Title(title, anchor="start"),
        ).encode(
            x=alt.X("crops:O", title="crops per image", scale=alt.Scale(domain=crops)),
            color=alt.Color("models:N", title="models", scale=models),
            xOffset=alt.XOffset("models:N", scale=alt.Scale(domain=models.domain)),
            description=WORDS,
        )
        y = alt.Y(
            "error:Q",
            title="error, %",
            scale=alt.Scale(domain=[start, min(start + span, 100.0)], nice=False),
            axis=alt.Axis(tickCount=5),
        )
        dash = [4, 4] if points is paper else [1, 0]
        marks = base.mark_line(strokeDash=dash).encode(y=y)
        if points is measured:
            marks += base.mark_rule(strokeWidth=2).encode(y="low:Q", y2="high:Q")
        marks += base.mark_point(filled=True, size=80, opacity=1).encode(y=y)
        panels.append(marks.properties(width=WIDTH, height=HEIGHT - 40))
    return _svg(alt.vconcat(*panels))


def errors_by_size(rows: Sequence[EnsembleSize]) -> str:
    """Draw the error by number of models: mean and range over ensembles of a size."""
    base = alt.Chart(
        _data(
            (
                row.plain(),
                f"{_count(row.models, 'model')}, {row.crops} crops: {row.error:.2f} %"
                f"{_range(row.low, row.high)}, {row.ensembles} ensembles",
            )
            for row in rows
        )
    ).encode(
        x=alt.X("models:O", title="models"),
        color=alt.Color(
            "crops:O",
            title="crops",
            sort=None,
            scale=alt.Scale(scheme=CROPS),
            legend=alt.Legend(columns=4),
        ),
        description=WORDS,
    )
    lines = base.mark_line(point=True).encode(
        y=alt.Y("error:Q", title="error, % (mean, range)", scale=alt.Scale(zero=False))
    )
    return _svg(base.mark_rule(strokeWidth=2, opacity=0.5).encode(y="low:Q", y2="high:Q") + lines)


def training_curves(rows: Sequence[CurvePoint]) -> str:
    """Draw the validation error over epochs, a line for each member and its weights."""
    base = alt.Chart(
        _data(
            (
                row.plain(),
                f"member {row.member}, {row.weights}: {row.error:.2f} % at epoch {row.epoch:g}",
            )
            for row in rows
        )
    ).encode(
        x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickCount=6)),
        y=alt.Y("error:Q", title="validation error, %", scale=alt.Scale(zero=False)),
        color=_members(row.member for row in rows),
        description=WORDS,
    )
    kinds = alt.Legend(columns=1)
    dash = alt.StrokeDash("weights:N", title="weights", sort=["averaged", "raw"], legend=kinds)
    return _svg(base.mark_line().encode(strokeDash=dash) + base.mark_point(filled=True, size=30))


def telemetry(rows: Sequence[Telemetry], field: str, title: str) -> str:
    """Draw a column of the trainings' logs over epochs, a line for each member."""
    base = alt.Chart(
        _data(
            (row.plain(), f"member {row.member}: {getattr(row, field):.4g} at epoch {row.epoch:g}")
            for row in rows
        )
    ).encode(
        x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickCount=6)),
        y=alt.Y(f"{field}:Q", title=title, axis=alt.Axis(tickCount=5)),
        color=_members(row.member for row in rows),
        description=WORDS,
    )
    hover = base.mark_point(filled=True, size=120, opacity=0)
    return _svg(base.mark_line(strokeWidth=1.5, aria=False) + hover)


def forest(rows: Sequence[ForestLine]) -> str:
    """Draw each arm's difference to a baseline, with its interval."""
    shown = [decision for decision in DECISIONS if decision in {row.decision for row in rows}]
    base = alt.Chart(
        _data(
            (
                row.plain(),
                f"{row.arm}: {row.difference:+.2f} points{_range(row.low, row.high)},"
                f" {row.decision}",
            )
            for row in rows
        )
    ).encode(
        y=alt.Y("arm:N", title=None, sort=None),
        color=alt.Color(
            "decision:N",
            title=None,
            scale=alt.Scale(domain=shown, range=[DECISIONS[decision] for decision in shown]),
        ),
        description=WORDS,
    )
    title = "difference, points (95 % interval)"
    x = alt.X("difference:Q", title=title, axis=alt.Axis(tickCount=6))
    none = (
        alt.Chart(alt.InlineData(values=[{"none": 0}]))
        .mark_rule(strokeDash=[4, 4], color=INK, aria=False)
        .encode(x="none:Q")
    )
    rules = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q")
    points = base.mark_point(filled=True, size=80, opacity=1).encode(x=x)
    layers = none + rules + points
    return _svg(layers.properties(width=WIDTH, height=min(HEIGHT, 60 + 30 * len(rows))))


def png(svg: str) -> bytes:
    """Return a chart as PNG at twice its size in pixels, for papers and slides."""
    content = io.BytesIO()
    picture = Image.open(io.BytesIO(vl_convert.svg_to_png(svg, scale=2)))
    picture.save(content, "PNG", optimize=True)  # a third of the bytes
    return content.getvalue()


def _data(rows: Iterable[tuple[dict[str, Any], str]]) -> alt.InlineData:
    """Return rows as the data of a chart, each with the words that a pointer shows."""
    return alt.InlineData(values=[row | {"words": words} for row, words in rows])


def _colours(models: Iterable[str]) -> alt.Scale:
    """Return the colours of numbers of models: one model has its own everywhere."""
    domain = sorted(set(models), key=int)
    several = [number for number in domain if number != "1"]
    colours = {
        number: ENSEMBLES[place % len(ENSEMBLES)] for place, number in enumerate(several[::-1])
    }
    return alt.Scale(domain=domain, range=[colours.get(number, ONE_MODEL) for number in domain])


def _members(numbers: Iterable[str]) -> alt.Color:
    domain = list(dict.fromkeys(numbers))
    scale = alt.Scale(domain=domain, range=MEMBERS)
    return alt.Color("member:N", title="member", scale=scale, legend=alt.Legend(columns=5))


def _bounds(points: Sequence[CropPoint]) -> tuple[float, float]:
    edges = [edge for p in points for edge in (p.low, p.error, p.high) if edge is not None]
    return min(edges), max(edges)


def _count(number: int | str, noun: str) -> str:
    return f"{number} {noun}{'' if int(number) == 1 else 's'}"


def _range(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"


def _svg(chart: alt.Chart | alt.LayerChart | alt.VConcatChart) -> str:
    if isinstance(chart, alt.Chart | alt.LayerChart) and chart.height is alt.Undefined:
        chart = chart.properties(width=WIDTH, height=HEIGHT)
    figure = (
        chart.properties(background="transparent", padding=PADDING)
        .configure_view(stroke=None)
        .configure_title(color=INK, fontSize=14, fontWeight="normal")
        .configure_axis(
            labelColor=INK,
            titleColor=INK,
            labelFontSize=14,
            titleFontSize=14,
            labelAngle=0,
            domainColor=INK,
            tickColor=INK,
            gridColor=INK,
            gridOpacity=0.25,
        )
        .configure_legend(
            labelColor=INK,
            titleColor=INK,
            labelFontSize=14,
            titleFontSize=14,
            orient="bottom",
            symbolOpacity=1,
            columnPadding=20,
        )
    )
    svg: str = vl_convert.vegalite_to_svg(figure.to_dict())
    return NAMED_MARK.sub(r"<\1\2><title>\3</title></\1>", svg)
