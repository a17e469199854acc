"""Which charts a report has, and what stands below each."""

import math
from collections.abc import Sequence
from pathlib import Path

from pipeline.configs.train import TrainConfig
from pipeline.reporting import charts, rows, tables
from pipeline.reporting.ablations import Ablation

MOST_POINTS = 1000  # ours: of a chart; more make a page heavy, and hide each other
OPENING = "errors_by_crops"  # the report opens with it
CAPTIONS = {
    "errors_by_size": "Top-{top} error of all ensembles that the members make, by their size.",
    "training_curves": "Top-{top} error at one crop during training, for each member.",
    "loss": "Training loss, auxiliary heads included.",
    "learning_rate": "Learning rate.",
    "images_per_second": "Images per second, over all ranks of a training.",
    "data_wait": "Share of the time that a training waited for images.",
}
AXES = {
    "loss": "loss",
    "learning_rate": "learning rate",
    "images_per_second": "images per second",
    "data_wait": "waiting for images, %",
}
PAPER = "paper, for reference: top-5, ImageNet, 224 px"


def of_errors(
    table3: Sequence[rows.Cell], sizes: Sequence[rows.EnsembleSize], top: int, place: str
) -> dict[str, str]:
    """Return the charts of results, by name; `place` names data and input size."""
    svgs = {}
    if points := tables.crop_curve(table3, top):
        titles = (f"measured: top-{top}, {place}", PAPER)
        svgs[OPENING] = charts.errors_by_crops(points, tables.paper_curve(), titles)
    if sizes:
        svgs["errors_by_size"] = charts.errors_by_size(sizes)
    return svgs


def of_trainings(
    curves: Sequence[rows.CurvePoint], trainings: Sequence[TrainConfig], root: Path
) -> dict[str, str]:
    """Return the charts of trainings, by name, as far as there are logs."""
    svgs = {"training_curves": charts.training_curves(_thinned(curves))} if curves else {}
    if logged := tables.telemetry(trainings, root):
        svgs |= {name: charts.telemetry(logged, name, title) for name, title in AXES.items()}
    return svgs


def _thinned(curves: Sequence[rows.CurvePoint]) -> list[rows.CurvePoint]:
    """Return every k-th point of each line, its last among them: few enough to draw."""
    lines: dict[tuple[str, str], list[rows.CurvePoint]] = {}
    for point in curves:
        lines.setdefault((point.member, point.weights), []).append(point)
    every = math.ceil(len(curves) / MOST_POINTS)
    kept = {id(point) for line in lines.values() for point in line[::-every]}
    return [point for point in curves if id(point) in kept]


def of_ablations(ablations: Sequence[Ablation]) -> dict[str, str]:
    """Return the forest plot of each ablation, by name."""
    return {
        ablation.chart: charts.forest(tables.forest(ablation.arms[ablation.facts.decided_on]))
        for ablation in ablations
    }


def captions(top: int) -> dict[str, str]:
    """Return what stands below each chart that has no place of its own."""
    return {name: text.format(top=top) for name, text in CAPTIONS.items()}
