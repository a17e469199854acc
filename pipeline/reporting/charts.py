"""Charts as inline SVG, by Altair and vl-convert.

A page with such charts needs no script and makes no request.
"""

from collections.abc import Sequence

import altair as alt
import vl_convert

from pipeline.artefacts.facts import Facts
from pipeline.reporting.rows import CropPoint, CurvePoint, EnsembleSize, ForestLine

# readable on a light and on a dark page
INK = "#7a8290"
# labels are a little wider than the renderer measures
PADDING = {"left": 16, "right": 5, "top": 5, "bottom": 5}
PALETTE = ["#2f7fd0", "#e08a2c", "#3a9d5d", "#b05bc4", "#c8505a", "#6f8f2f", "#4aa6b5", "#8a6d5a"]


def training_curves(rows: Sequence[CurvePoint]) -> str:
    """Draw the validation error over epochs, a line for each member and its weights."""
    chart = (
        alt.Chart(_data(rows))
        .mark_line()
        .encode(
            x=alt.X("epoch:Q", title="epoch"),
            y=alt.Y("error:Q", title="validation error, %", scale=alt.Scale(zero=False)),
            color=alt.Color("member:N", title="member"),
            strokeDash=alt.StrokeDash("weights:N", title="weights", sort=["averaged", "raw"]),
        )
    )
    return _svg(chart)


def errors_by_crops(rows: Sequence[CropPoint]) -> str:
    """Draw the error by crops, a point with its interval for each number of models."""
    crops = alt.X("crops:O", title="crops per image")
    base = alt.Chart(_data(rows)).encode(
        x=crops, color=alt.Color("models:N", title="models"), xOffset="models:N"
    )
    points = base.mark_point(filled=True, size=80).encode(
        y=alt.Y("error:Q", title="error, % (95 % interval)", scale=alt.Scale(zero=False))
    )
    return _svg(base.mark_rule(strokeWidth=2).encode(y="low:Q", y2="high:Q") + points)


def errors_by_size(rows: Sequence[EnsembleSize]) -> str:
    """Draw the error by number of models: mean and range over ensembles of a size."""
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("models:O", title="models"), color=alt.Color("crops:N", title="crops", sort=None)
    )
    lines = base.mark_line(point=True).encode(
        y=alt.Y("error:Q", title="error, % (mean, range)", scale=alt.Scale(zero=False))
    )
    return _svg(base.mark_rule(strokeWidth=2, opacity=0.5).encode(y="low:Q", y2="high:Q") + lines)


def forest(rows: Sequence[ForestLine]) -> str:
    """Draw each arm's difference to a baseline, with its interval."""
    base = alt.Chart(_data(rows)).encode(y=alt.Y("arm:N", title=None, sort=None))
    x = alt.X(
        "difference:Q",
        title="difference to the first arm, points (95 % interval)",
        axis=alt.Axis(tickCount=6),
    )
    none = (
        alt.Chart(alt.InlineData(values=[{"none": 0}]))
        .mark_rule(strokeDash=[4, 4], color=INK)
        .encode(x="none:Q")
    )
    rules = base.mark_rule(strokeWidth=2).encode(
        x="low:Q", x2="high:Q", color=alt.value(PALETTE[0])
    )
    return _svg(
        none
        + rules
        + base.mark_point(filled=True, size=80).encode(x=x, color=alt.value(PALETTE[0]))
    )


def png(svg: str) -> bytes:
    """Return a chart as PNG at twice its size in pixels, for papers and slides."""
    content: bytes = vl_convert.svg_to_png(svg, scale=2)
    return content


def _data(rows: Sequence[Facts]) -> alt.InlineData:
    return alt.InlineData(values=[row.plain() for row in rows])


def _svg(chart: alt.Chart | alt.LayerChart) -> str:
    figure = (
        chart.properties(width=440, height=260, background="transparent", padding=PADDING)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK,
            titleColor=INK,
            labelFontSize=13,
            titleFontSize=14,
            labelAngle=0,
            domainColor=INK,
            tickColor=INK,
            gridColor=INK,
            gridOpacity=0.25,
        )
        .configure_legend(
            labelColor=INK, titleColor=INK, labelFontSize=13, titleFontSize=13, orient="bottom"
        )
        .configure_range(category=PALETTE)
    )
    svg: str = vl_convert.vegalite_to_svg(figure.to_dict())
    return svg
