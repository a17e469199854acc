"""Stage: verdicts and results -> the report of a study.

It is RESULTS.md, a report.html that needs no other file, and a summary for the screen.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path

from pipeline.artefacts import sealing
from pipeline.artefacts.contents import ReportFacts
from pipeline.artefacts.result import Result
from pipeline.artefacts.verdict import read_verdicts
from pipeline.configs.base import StageConfig
from pipeline.configs.benchmark import BenchmarkConfig
from pipeline.configs.compare import Arm, EnsembleConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.paper.family import NUMBERS
from pipeline.paper.published import NEIGHBOURS, SOURCE
from pipeline.reporting import charts, figures, table_files, tables
from pipeline.reporting.ablations import comparisons
from pipeline.reporting.cautions import cautions, denominator, single_model
from pipeline.reporting.findings import Sample, findings, largest
from pipeline.reporting.gallery import rescues
from pipeline.reporting.networks import input_sizes, of_members, of_subsets
from pipeline.reporting.page import Benchmark, Page, Tracked
from pipeline.reporting.wording import AUDIT_TITLES, templates
from pipeline.runtime import disk
from pipeline.statistics.levels import FEW_CLASSES, deciding_top
from pipeline.tracking import page as tracking

PROGRESS = "progress.html"
PICTURE = "RESULTS.png"  # beside RESULTS.md, which shows it


def report(config: Study, root: Path) -> Path:
    """Write the report of a study, and return the path of its page.

    Tables are CSV and JSON files, charts SVG and PNG files.
    """
    page = root / config.folder / "report.html"
    if config.is_complete(root):
        return page
    contents = _page(config, root)
    fields = {
        **vars(contents),
        "few_classes": FEW_CLASSES,
        "source": SOURCE,
        "audit": _audit(),
        "audit_titles": AUDIT_TITLES,
        "neighbours": NEIGHBOURS,
        "family": NUMBERS,
    }
    environment = templates()
    files = {
        name: environment.get_template(template).render(fields).encode()
        for name, template in (
            ("report.html", "report.html"),
            ("RESULTS.md", "results.md"),
            ("summary.txt", "summary.txt"),
        )
    }
    files |= {
        f"tables/{name}.csv": table_files.as_csv(rows)
        for name, rows in contents.tables.items()
        if rows
    }
    files["tables.json"] = table_files.as_json(contents.tables)
    for name, svg in contents.charts.items():
        files |= {f"charts/{name}.svg": svg.encode(), f"charts/{name}.png": charts.png(svg)}
    if (picture := files.get(f"charts/{figures.OPENING}.png")) is not None:
        files[PICTURE] = picture
    for name, content in files.items():
        disk.write_atomic(root / config.folder / name, content)
    if (progress := root / config.folder / PROGRESS).exists():  # somebody may look at it
        disk.write_atomic(progress, b'<meta http-equiv="refresh" content="0;url=report.html">\n')
    sealing.REPORT.seal(
        config,
        root,
        [root / config.folder / name for name in files],
        ReportFacts(summary=files["summary.txt"].decode()),
    )
    return page


def _page(config: Study, root: Path) -> Page:
    verdicts, sealed_check = read_verdicts(config.check, root)
    results = [Result(cell, root) for cell in config.check.results]
    members = members_of(config.check.results)
    everyone = members_of(
        [
            *config.check.results,
            *(arm for comparison in config.comparisons for arm in comparison.arms),
        ]
    )
    first = results[0].facts
    top = deciding_top(first.num_classes)
    claims = tables.of_claims(config.check, root)
    runs = [(run, sealing.RUN.unseal(run, root)) for run in trainings_of(everyone)]
    evaluations = [(member, sealing.PREDICTIONS.unseal(member, root)) for member in everyone]
    commands = [
        *(run.provenance.command for _, run in runs),
        *(evaluation.provenance.command for _, evaluation in evaluations),
        *(command for claim in claims for command in claim.commands),
    ]
    ablations = comparisons(config.comparisons, root)
    table3, sizes, curves = (
        tables.cells(results, top),
        tables.ensemble_sizes(results, top),
        tables.curves(trainings_of(members), root, top),
    )
    shown = largest(table3)
    most = results[table3.index(shown)]
    classes, pairs = tables.of_classes(most, top)
    return Page(
        study=config.name,
        title=config.title,
        data=_named_data(members[0].data, root),
        input_size=input_sizes(members),
        denominator=denominator(first.num_images, members, root),
        num_classes=first.num_classes,
        top=top,
        findings=findings(
            table3, top, verdicts, ablations, Sample(len(most.config.members), first.num_images)
        ),
        verdicts=verdicts,
        cells=table3,
        single=single_model(results),
        tables={
            "table3": table3,
            "verdicts": verdicts,
            "ablations": [
                row
                for ablation in ablations
                for each in ablation.arms
                for row in tables.of_comparison(ablation.facts, each)
            ],
            "claims": claims,
            "ensemble_sizes": sizes,
            "members": of_members(most, shown.crops, {e.hash: e for _, e in evaluations}),
            "subsets": of_subsets(most, shown.crops),
            "training_curves": curves,
            "classes": classes,
            "confusions": pairs,
            **({"networks": sealed_check.networks} if sealed_check.networks else {}),
        },
        charts=figures.of_errors(table3, sizes, top, place_of(config))
        | figures.of_trainings(curves, trainings_of(members), root)
        | figures.of_ablations(ablations),
        comparisons=ablations,
        captions=figures.captions(top),
        shown=shown,
        mistakes=most.mistakes,
        rescues=rescues(results, root),
        runs=runs,
        evaluations=evaluations,
        tracked=_tracked([config for config, _ in (*runs, *evaluations)], root),
        cautions=cautions(results, [sealed for _, sealed in evaluations]),
        commands=list(dict.fromkeys(commands)),
        check_hash=config.check.hash,
        benchmarks=benchmarks_of(root),
        provenance=sealed_check.provenance,
    )


def _named_data(data: PrepareConfig, root: Path) -> str:
    """Return the name of a data set, and the beginning of its content's digest."""
    return f"{data.name} (content {sealing.DATASET.unseal(data, root).digest[:12]})"


def place_of(study: Study) -> str:
    """Return in short what a study measured on, for the title of a chart."""
    member = study.check.results[0].members[0]
    return f"{member.data.name}, {input_sizes(members_of(study.check.results))} px"


def _tracked(configs: Sequence[StageConfig], root: Path) -> dict[str, Tracked]:
    """Return the runs of the artefacts that W&B's server holds, by hash."""
    runs = {}
    for config in configs:
        with suppress(OSError, ValueError):
            page = tracking.read(tracking.path_of(config, root))
            if page.delivered is not None:
                runs[config.hash] = Tracked(page.run_id, page.url or "")
    return runs


def _audit() -> Mapping[str, object]:
    """Return the audit from its file: counting it again would need torch."""
    audit: Mapping[str, object] = json.loads(
        resources.files("pipeline.paper").joinpath("audit.json").read_text()
    )
    return audit


def members_of(groups: Iterable[EnsembleConfig | Arm]) -> list[EvaluateConfig]:
    """Return all members of results or arms, each once."""
    return list({member.hash: member for group in groups for member in group.members}.values())


def trainings_of(members: Iterable[EvaluateConfig]) -> list[TrainConfig]:
    """Return the trainings that members come from, each once."""
    runs = [member.classifier for member in members]
    return list({run.hash: run for run in runs if isinstance(run, TrainConfig)}.values())


def benchmarks_of(root: Path) -> list[Benchmark]:
    """Return the benchmarks under this root, in the words of the command."""
    benchmarks = []
    for path in sorted((root / BenchmarkConfig.room).glob(f"*/{BenchmarkConfig.last_file}")):
        what, sealed = sealing.read_benchmark(path)
        is_gpu = sealed.config.get("device") == "cuda"
        template = templates().get_template(f"benchmark_{what}.txt")
        text = template.render(dict(sealed), is_gpu=is_gpu)
        benchmarks.append(Benchmark(what, text, sealed.provenance))
    return sorted(benchmarks, key=lambda benchmark: benchmark.what)
