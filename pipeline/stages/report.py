"""Stage: verdicts and results -> RESULTS.md, a self-contained report.html, and the
summary for the screen.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from pipeline.artefacts import sealing
from pipeline.artefacts.result import Result
from pipeline.artefacts.verdict import read_verdicts
from pipeline.configs.compare import Arm, EnsembleConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.study import BenchmarkConfig, ReportConfig, Study
from pipeline.configs.train import TrainConfig
from pipeline.paper.published import NEIGHBOURS, SOURCE
from pipeline.reporting import charts, tables
from pipeline.reporting.ablations import comparisons
from pipeline.reporting.cautions import cautions
from pipeline.reporting.wording import AUDIT_TITLES, templates
from pipeline.runtime import disk
from pipeline.statistics.levels import FEW_CLASSES, deciding_top

PROGRESS = "progress.html"
CAPTIONS = {
    "errors_by_crops": "Top-{top} error by number of crops and models.",
    "errors_by_size": "Top-{top} error of all ensembles that the members make, by their size.",
    "training_curves": "Top-{top} error at one crop during training, for each member.",
}


def report(config: ReportConfig, root: Path) -> Path:
    """Write the report of a study, its tables (CSV, JSON) and its charts (SVG, PNG);
    returns the path of the page.
    """
    page = root / config.folder / "report.html"
    if config.is_complete(root):
        return page
    facts = _facts(config, root)
    environment = templates()
    written = {
        name: environment.get_template(template).render(facts).encode()
        for name, template in (
            ("report.html", "report.html"),
            ("RESULTS.md", "results.md"),
            ("summary.txt", "summary.txt"),
        )
    }
    written |= {
        f"tables/{name}.csv": tables.as_csv(rows) for name, rows in facts["tables"].items() if rows
    }
    written["tables.json"] = tables.as_json(facts["tables"])
    for name, svg in facts["charts"].items():
        written |= {f"charts/{name}.svg": svg.encode(), f"charts/{name}.png": charts.png(svg)}
    for name, content in written.items():
        disk.write_atomic(root / config.folder / name, content)
    if (progress := root / config.folder / PROGRESS).exists():  # somebody may look at it
        disk.write_atomic(progress, b'<meta http-equiv="refresh" content="0;url=report.html">\n')
    sealing.seal(
        config,
        root,
        [root / config.folder / name for name in written],
        {"summary": written["summary.txt"].decode()},
    )
    return page


def report_progress(study: Study, root: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """Write the page of a study that is not complete, beside where its report will be;
    returns its path.

    `rows` say where it stands, by stage. The page asks for itself again every half
    minute, and leads to the report at last.
    """
    results = [Result(named, root) for named in study.check.results if named.is_complete(root)]
    top = deciding_top(results[0].facts["num_classes"]) if results else 5
    table3 = tables.cells(results, top) if results else []
    facts = {
        "study": study.name,
        "title": study.title,
        "rows": rows,
        "done": sum(stage.is_complete(root) for stage in study.stages),
        "num_stages": len(study.stages),
        "num_results": len(study.check.results),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cells": table3,
        "top": top,
        "charts": _charts(
            table3, [], tables.curves(_trainings(_members(study.check.results)), root, top), top
        ),
        "captions": _captions(top),
    }
    page = root / study.report.folder / PROGRESS
    disk.write_atomic(page, templates().get_template("progress.html").render(facts).encode())
    return page


def _facts(config: ReportConfig, root: Path) -> dict[str, Any]:
    """Everything the templates show."""
    verdicts, checked = read_verdicts(config.check, root)
    results = [Result(named, root) for named in config.check.results]
    members = _members(config.check.results)
    everyone = _members(
        [*config.check.results, *(arm for compared in config.comparisons for arm in compared.arms)]
    )
    runs = _trainings(members)
    top = deciding_top(results[0].facts["num_classes"])
    shown = results[-1]
    claims = tables.of_claims(config.check, root)
    trained = [_run(run, root) for run in _trainings(everyone)]
    sealed = [sealing.unseal(member, root) for member in everyone]
    evaluated = [
        {**facts, "classifier": member.classifier.label}
        for facts, member in zip(sealed, everyone, strict=True)
    ]
    made_by = [made["provenance"]["command"] for made in (*trained, *evaluated)]
    classes, confused = tables.of_classes(shown, top)
    compared = comparisons(config.comparisons, root)
    table3, sizes, curves = (
        tables.cells(results, top),
        tables.ensemble_sizes(results, top),
        tables.curves(runs, root, top),
    )
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
        "cells": table3,
        "single": _single(results),
        "tables": {
            "table3": table3,
            "verdicts": tables.of_verdicts(verdicts),
            "ablations": [
                row
                for comparison in compared
                for arms in comparison["arms"].values()
                for row in arms
            ],
            "claims": claims,
            "ensemble_sizes": sizes,
            "training_curves": curves,
            "classes": classes,
            "confusions": confused,
        },
        "charts": (
            _charts(table3, sizes, curves, top)
            | {
                comparison["chart"]: charts.forest(
                    tables.forest(comparison["arms"][comparison["top"]])
                )
                for comparison in compared
            }
        ),
        "comparisons": compared,
        "captions": _captions(top),
        "shown": table3[-1],
        "mistakes": shown.mistakes,
        "runs": trained,
        "evaluations": evaluated,
        "cautions": cautions(results, sealed),
        "commands": list(
            dict.fromkeys(made_by + [command for claim in claims for command in claim["commands"]])
        ),
        "check_hash": config.check.hash,
        # counting takes torch
        "audit": json.loads(resources.files("pipeline.paper").joinpath("audit.json").read_text()),
        "neighbours": NEIGHBOURS,
        "benchmarks": _benchmarks(root),
        "audit_titles": AUDIT_TITLES,
        "provenance": checked["provenance"],
    }


def _single(results: Sequence[Result]) -> str:
    """Which member the rows of a single model are of; nothing where there is one."""
    chosen = [result for result in results if result.config.choose == "best_top1"]
    if not chosen:
        return ""
    members = chosen[0].config.members
    place = chosen[0].facts["chosen_members"][0]
    return (
        f"1 model: member {place + 1} of {len(members)} ({members[place].classifier.label}), which"
        " has the lowest top-1 error at one crop on these very images."
    )


def _members(groups: Iterable[EnsembleConfig | Arm]) -> list[EvaluateConfig]:
    """Each once."""
    return list({member.hash: member for group in groups for member in group.members}.values())


def _trainings(members: Iterable[EvaluateConfig]) -> list[TrainConfig]:
    """Of ours, each once."""
    runs = [member.classifier for member in members]
    return list({run.hash: run for run in runs if isinstance(run, TrainConfig)}.values())


def _charts(
    table3: list[tables.Row], sizes: list[tables.Row], curves: list[tables.Row], top: int
) -> dict[str, str]:
    """Those for which there is something to draw."""
    drawn = {
        "errors_by_crops": (charts.errors_by_crops, tables.crop_curve(table3, top)),
        "errors_by_size": (charts.errors_by_size, sizes),
        "training_curves": (charts.training_curves, curves),
    }
    return {name: draw(rows) for name, (draw, rows) in drawn.items() if rows}


def _captions(top: int) -> dict[str, str]:
    return {name: text.format(top=top) for name, text in CAPTIONS.items()}


def _denominator(num_images: int, members: list[EvaluateConfig], root: Path) -> str:
    """How many images the errors are counted on, and which of them could not be
    used.
    """
    sealed = [sealing.unseal(member, root) for member in members]
    bad = sorted({name for facts in sealed for name in facts["bad_images"]})
    text = f"{num_images} validation images"
    if bad:
        text += (
            f" (unreadable, counted as errors: {len(bad)}:"
            f" {', '.join(bad[:5])}{' ...' if bad[5:] else ''})"
        )
    if rejected := max(facts["num_rejected"] for facts in sealed):
        text += f" (not images, left out in preparation: {rejected})"
    return text


def _run(run: TrainConfig, root: Path) -> dict[str, Any]:
    sealed = sealing.unseal(run, root)
    return {
        **sealed,
        "data_seed": run.data_seed,
        "num_epochs": run.num_epochs,
        "width": run.network.width,
    }


def _benchmarks(root: Path) -> list[dict[str, Any]]:
    """What was measured under this root, in the words of the command."""
    found = []
    for path in sorted((root / BenchmarkConfig.room).glob(f"*/{BenchmarkConfig.last_file}")):
        facts = json.loads(path.read_text())
        what = facts["config"]["what"]
        text = templates().get_template(f"benchmark_{what}.txt").render(facts)
        found.append({"what": what, "text": text, "provenance": facts["provenance"]})
    return sorted(found, key=lambda benchmark: str(benchmark["what"]))
