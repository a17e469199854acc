"""Stage: verdicts and results -> RESULTS.md, a self-contained report.html, and the summary for the screen."""

from pathlib import Path
from typing import Any

import jinja2

from pipeline.adapters import charts
from pipeline.artefacts import storage
from pipeline.artefacts.result import Result
from pipeline.artefacts.run import Run
from pipeline.artefacts.verdict import read_verdicts
from pipeline.paper.crops import CURVE, NUM_CROPS, label_of
from pipeline.paper.published import NEIGHBOURS, SOURCE, TABLE3, Cell
from pipeline.stages.audit import TITLES, audit_facts
from pipeline.stages.check import FEW_CLASSES
from pipeline.study import EvaluateConfig, ReportConfig, TrainConfig


def report(config: ReportConfig, root: Path) -> Path:
    """Write the report of a study; returns the path of the page."""
    page = root / config.folder / "report.html"
    if config.is_complete(root):
        return page
    facts = _facts(config, root)
    environment = templates()
    written = {}
    for name, template in (("report.html", "report.html"), ("RESULTS.md", "results.md"), ("summary.txt", "summary.txt")):
        written[name] = environment.get_template(template).render(facts)
        storage.write_atomic(root / config.folder / name, written[name].encode())
    storage.seal(config, root, [root / config.folder / name for name in written], {"summary": written["summary.txt"]})
    return page


def templates() -> jinja2.Environment:
    """The folder `templates`, with filters that spell errors as people read them."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline", "stages/templates"),
        autoescape=jinja2.select_autoescape(["html"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(percent=_percent, interval=_interval, quantity=_quantity)
    return environment


def _facts(config: ReportConfig, root: Path) -> dict[str, Any]:
    """Everything the templates show."""
    verdicts, checked = read_verdicts(config.check, root)
    results = [Result(named, root) for named in config.check.results]
    members = list({member.hash: member for named in config.check.results for member in named.members}.values())
    runs = list({m.classifier.hash: m.classifier for m in members if isinstance(m.classifier, TrainConfig)}.values())
    top = 1 if results[0].facts["num_classes"] < FEW_CLASSES else 5
    cells = [_cell(result) for result in results]
    return {
        "study": config.name,
        "title": config.title,
        "data": members[0].data.name,
        "input_size": members[0].classifier.input_size,
        "denominator": _denominator(results[0].facts["num_images"], members, root),
        "num_classes": results[0].facts["num_classes"],
        "top": top,
        "few_classes": FEW_CLASSES,
        "source": SOURCE,
        "verdicts": verdicts,
        "cells": cells,
        "runs": [_run(run, root) for run in runs],
        "evaluations": [_evaluation(member, root) for member in members],
        "check_hash": config.check.hash,
        "audit": audit_facts(),
        "neighbours": NEIGHBOURS,
        "audit_titles": TITLES,
        "provenance": checked["provenance"],
        "curves": charts.training_curves(_curve_rows(runs, root, top)) if runs else "",
        "crops_chart": charts.errors_by_crops(
            [
                {
                    "crops": NUM_CROPS[cell["policy"]],
                    "models": str(cell["models"]),
                    "error": 100 * cell[f"top{top}_error"],
                    "low": 100 * cell[f"top{top}_interval"][0],
                    "high": 100 * cell[f"top{top}_interval"][1],
                }
                for cell in cells
                if cell["policy"] in CURVE
            ]
        ),
    }


def _denominator(num_images: int, members: list[EvaluateConfig], root: Path) -> str:
    """How many images the errors are counted on, and which of them could not be used."""
    sealed = [storage.unseal(member, root) for member in members]
    bad = sorted({name for facts in sealed for name in facts["bad_images"]})
    text = f"{num_images} validation images"
    if bad:
        text += f" (unreadable, counted as errors: {len(bad)}: {', '.join(bad[:5])}{' ...' if bad[5:] else ''})"
    if rejected := max(facts["num_rejected"] for facts in sealed):
        text += f" (not images, left out in preparation: {rejected})"
    return text


def _cell(result: Result) -> dict[str, Any]:
    models, policy = result.config.num_models, result.config.policy
    return {
        **{name: result.facts[name] for name in ("top1_error", "top5_error", "top1_interval", "top5_interval")},
        "models": models,
        "policy": policy,
        "crops": label_of(policy),
        "published": TABLE3.get(Cell(models, NUM_CROPS[policy])) if policy in CURVE else None,
        "hash": result.config.hash,
    }


def _run(run: TrainConfig, root: Path) -> dict[str, Any]:
    sealed = storage.unseal(run, root)
    last = next(row for row in reversed(Run(run, root).metrics()) if "val_top1_error_averaged" in row)
    return {**sealed, "metrics": last, "data_seed": run.data_seed, "num_epochs": run.num_epochs, "width": run.network.width}


def _evaluation(member: EvaluateConfig, root: Path) -> dict[str, Any]:
    return {**storage.unseal(member, root), "classifier": member.classifier.label}


def _curve_rows(runs: list[TrainConfig], root: Path, top: int) -> list[dict[str, Any]]:
    return [
        {
            "epoch": row["epoch"],
            "error": 100 * row[f"val_top{top}_error_{weights}"],
            "member": str(number),
            "weights": weights,
        }
        for number, run in enumerate(runs, start=1)
        for row in Run(run, root).metrics()
        for weights in ("averaged", "raw")
        if f"val_top{top}_error_{weights}" in row
    ]


def _percent(error: float | None) -> str:
    return "" if error is None else f"{100 * error:.2f} %"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"{100 * bounds[0]:.2f} to {100 * bounds[1]:.2f}"


def _quantity(value: float | None, kind: str) -> str:
    return "" if value is None else f"{100 * value:.2f} %" if kind == "error" else f"{100 * value:+.2f} points"
