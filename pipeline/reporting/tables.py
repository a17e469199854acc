"""The tables of a study's report, as plain rows.

They go into the page, into RESULTS.md, and into files (table_files.py).
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from pipeline.artefacts import sealing
from pipeline.artefacts.comparison_facts import ArmRow, ComparisonFacts
from pipeline.artefacts.contents import SealedPredictions, SealedRun
from pipeline.artefacts.facts import Facts
from pipeline.artefacts.metrics import METRICS, each_row, validations
from pipeline.artefacts.result import Result
from pipeline.artefacts.verdict import Verdict, read_verdicts
from pipeline.configs.base import StageConfig
from pipeline.configs.study import CheckConfig
from pipeline.configs.train import TrainConfig
from pipeline.paper.policies import CURVE, NUM_CROPS, label_of
from pipeline.paper.published import CLAIMS, TABLE3, published_error
from pipeline.reporting.mistakes import class_errors, confusions
from pipeline.reporting.rows import (
    AblationRow,
    Cell,
    ClaimRow,
    ClassRow,
    Confusion,
    CropPoint,
    CurvePoint,
    EnsembleSize,
    ForestLine,
    Telemetry,
)
from pipeline.statistics.inference import mcnemar

Row = Facts | Verdict
MOST_ROWS = 40  # ours: of a training in a chart; more make the page heavy, and no clearer
LOGGED = ("epoch", "loss", "learning_rate", "images_per_second")
WEIGHTS: tuple[Literal["averaged", "raw"], ...] = ("averaged", "raw")


def cells(results: Sequence[Result], top: int) -> list[Cell]:
    """Return Table 3: a row for each result, its errors with their intervals.

    As in the paper, each row has its difference to the first row. The paper's errors
    stand beside GoogLeNets alone. `p_value` is of McNemar's exact test on the same
    images, two-sided.
    """
    base = results[0].errors(top)
    rows = []
    for result in results:
        errors, policy, models = result.errors(top), result.config.policy, result.config.num_models
        are_googlenets = all(member.classifier.shape for member in result.config.members)
        rows.append(
            Cell(
                models=models,
                policy=policy,
                crops=label_of(policy),
                published=published_error(models, policy) if are_googlenets else None,
                top1_error=result.facts.top1_error,
                top5_error=result.facts.top5_error,
                top1_interval=result.facts.top1_interval,
                top5_interval=result.facts.top5_interval,
                difference=float(errors.mean() - base.mean()),
                p_value=mcnemar(base, errors),
                hash=result.config.hash,
            )
        )
    return rows


def ensemble_sizes(results: Sequence[Result], top: int) -> list[EnsembleSize]:
    """Return mean and range of the error over all ensembles of each size.

    There are rows for each number of crops that an ensemble was made for.
    """
    rows = []
    for result in results:
        subsets = result.facts.subsets
        for size in sorted({len(subset.members) for subset in subsets}):
            errors = [
                100 * (subset.top1_error if top == 1 else subset.top5_error)
                for subset in subsets
                if len(subset.members) == size
            ]
            rows.append(
                EnsembleSize(
                    crops=label_of(result.config.policy),
                    models=size,
                    ensembles=len(errors),
                    error=sum(errors) / len(errors),
                    low=min(errors),
                    high=max(errors),
                )
            )
    return rows


def curves(runs: Sequence[TrainConfig], root: Path, top: int) -> list[CurvePoint]:
    """Return the validation errors of each training, at one crop.

    Raises:
        InputError: a training is complete, and its log is not what was sealed.
    """
    for run in runs:
        if run.is_complete(root):
            sealing.sealed_file(run, root, METRICS)
    return [
        CurvePoint(
            epoch=epoch,
            error=100 * errors.error(top, weights),
            member=str(number),
            weights=weights,
        )
        for number, run in enumerate(runs, start=1)
        for epoch, errors in validations(run, root)
        for weights in WEIGHTS
    ]


def crop_curve(table3: Sequence[Cell], top: int) -> list[CropPoint]:
    """Return the error by number of crops, in per cent."""
    points = []
    for cell in table3:
        if cell.policy in CURVE:
            low, high = cell.top1_interval if top == 1 else cell.top5_interval
            points.append(
                CropPoint(
                    crops=NUM_CROPS[cell.policy],
                    models=str(cell.models),
                    error=100 * (cell.top1_error if top == 1 else cell.top5_error),
                    low=100 * low,
                    high=100 * high,
                )
            )
    return points


def paper_curve() -> list[CropPoint]:
    """Return the paper's top-5 errors by number of crops (Table 3), in per cent."""
    return [
        CropPoint(crops=cell.crops, models=str(cell.models), error=100 * error)
        for cell, error in TABLE3.items()
    ]


def telemetry(runs: Sequence[TrainConfig], root: Path) -> list[Telemetry]:
    """Return what each training logged, at some `MOST_ROWS` steps, evenly spread.

    Rows that lack a column, as those of a validation, are left out.
    """
    points = []
    for number, run in enumerate(runs, start=1):
        # read twice, as a long training has too many rows for the memory
        count = sum(1 for _ in _whole_rows(run, root))
        for row in islice(_whole_rows(run, root), 0, None, -(-count // MOST_ROWS) or 1):
            points.append(
                Telemetry(
                    member=str(number),
                    data_wait=100 * row["data_wait"],
                    **{name: row[name] for name in LOGGED},
                )
            )
    return points


def _whole_rows(run: TrainConfig, root: Path) -> Iterator[dict[str, float]]:
    return (row for row in each_row(run, root) if row.keys() >= {*LOGGED, "data_wait"})


def of_classes(result: Result, top: int) -> tuple[list[ClassRow], list[Confusion]]:
    """Return the errors of each class, and the pairs that are confused."""
    labels, predicted, names = (
        result.hits("label"),
        result.hits("predicted"),
        result.facts.classes,
    )
    return class_errors(labels, predicted, result.hits("rank"), names, top), confusions(
        labels, predicted, names
    )


def of_claims(config: CheckConfig, root: Path) -> list[ClaimRow]:
    """Return what each claim rests on.

    A row has the claim's results, the commits and commands that made them and the
    trainings and evaluations behind them, and their cost.
    """
    verdicts = {verdict.claim: verdict.decision for verdict in read_verdicts(config, root)[0]}
    cells, rows = config.cells, list[ClaimRow]()
    for claim in (claim for claim in CLAIMS if claim.id in verdicts):
        places = (
            [cell for cell in (claim.cell, claim.base) if cell in cells]
            if verdicts[claim.id] != "not_run"
            else []
        )
        results = {cells[cell].hash: cells[cell] for cell in places}
        sources: dict[str, StageConfig] = {}
        for member in (member for result in results.values() for member in result.members):
            sources |= {
                part.hash: part
                for part in (member.classifier, member)
                if isinstance(part, StageConfig)
            }
        sealed = [sealing.unseal(part, root) for part in (*sources.values(), *results.values())]
        origins = [facts.provenance for facts in sealed]
        rows.append(
            ClaimRow(
                claim=claim.id,
                results=" ".join(results),
                commit=" ".join(
                    dict.fromkeys(
                        origin.commit[:12] + ("+" if origin.dirty else "") for origin in origins
                    )
                ),
                commands=list(dict.fromkeys(origin.command for origin in origins)),
                core_or_gpu_hours=sum(
                    facts.core_or_gpu_hours
                    for facts in sealed
                    if isinstance(facts, SealedRun | SealedPredictions)
                ),
            )
        )
    return rows


def of_comparison(facts: ComparisonFacts, top: int) -> list[AblationRow]:
    """Return the arms of an ablation.

    A row has the mean error over seeds and its spread, the difference to the first
    arm, the p-value and the decision.
    """
    return [AblationRow(question=facts.question, top=top, arm=row) for row in facts.arms(top)]


def forest(arms: Sequence[ArmRow]) -> list[ForestLine]:
    """Return what the forest plot of an ablation shows: all arms but the first."""
    return [
        ForestLine(
            arm=row.arm,
            decision=row.decision,
            difference=100 * row.difference,
            low=100 * row.interval[0],
            high=100 * row.interval[1],
        )
        for row in arms
        if row.interval is not None
    ]
