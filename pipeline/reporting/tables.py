"""The tables of a study's report, as plain rows: for the page, for RESULTS.md, and as
CSV and JSON.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.artefacts import sealing
from pipeline.artefacts.contents import ComparisonFacts
from pipeline.artefacts.metrics import read_metrics
from pipeline.artefacts.result import Result
from pipeline.artefacts.verdict import Verdict, read_verdicts
from pipeline.configs.base import StageConfig
from pipeline.configs.study import CheckConfig
from pipeline.configs.train import TrainConfig
from pipeline.paper.crops import CURVE, NUM_CROPS, label_of
from pipeline.paper.published import CLAIMS, published_error
from pipeline.reporting.mistakes import class_errors, confusions
from pipeline.statistics.inference import mcnemar

Row = dict[str, Any]


def cells(results: Sequence[Result], top: int) -> list[Row]:
    """Table 3: errors with their intervals, and, as the paper has it, the difference to
    its base, the first row.

    `p_value`: exact McNemar on the same images, two-sided.
    """
    base = results[0].errors(top)
    rows = []
    for result in results:
        errors, policy, models = result.errors(top), result.config.policy, result.config.num_models
        rows.append(
            {
                "models": models,
                "policy": policy,
                "crops": label_of(policy),
                "published": published_error(models, policy),
                **{
                    name: result.facts[name]
                    for name in ("top1_error", "top5_error", "top1_interval", "top5_interval")
                },
                "difference": float(errors.mean() - base.mean()),
                "p_value": mcnemar(base, errors),
                "hash": result.config.hash,
            }
        )
    return rows


def ensemble_sizes(results: Sequence[Result], top: int) -> list[Row]:
    """Mean and range of the error over all ensembles of each size, at each number of
    crops that an ensemble was made for.
    """
    rows = []
    for result in results:
        subsets = result.facts["subsets"]
        for size in sorted({len(subset["members"]) for subset in subsets}):
            of_size = [subset for subset in subsets if len(subset["members"]) == size]
            errors = [
                100 * (subset["top1_error"] if top == 1 else subset["top5_error"])
                for subset in of_size
            ]
            mean = sum(errors) / len(errors)
            spread = {
                "ensembles": len(errors),
                "error": mean,
                "low": min(errors),
                "high": max(errors),
            }
            rows.append({"crops": label_of(result.config.policy), "models": size, **spread})
    return rows


def curves(runs: Sequence[TrainConfig], root: Path, top: int) -> list[Row]:
    """Validation error at one crop along each training."""
    return [
        {
            "epoch": row["epoch"],
            "error": 100 * row[f"val_top{top}_error_{weights}"],
            "member": str(number),
            "weights": weights,
        }
        for number, run in enumerate(runs, start=1)
        for row in read_metrics(run, root)
        for weights in ("averaged", "raw")
        if f"val_top{top}_error_{weights}" in row
    ]


def crop_curve(table3: Sequence[Row], top: int) -> list[Row]:
    """Error by number of crops, in per cent."""
    return [
        {
            "crops": NUM_CROPS[cell["policy"]],
            "models": str(cell["models"]),
            "error": 100 * cell[f"top{top}_error"],
            "low": 100 * cell[f"top{top}_interval"][0],
            "high": 100 * cell[f"top{top}_interval"][1],
        }
        for cell in table3
        if cell["policy"] in CURVE
    ]


def of_classes(result: Result, top: int) -> tuple[list[Row], list[Row]]:
    """Errors of each class, and the pairs that are confused."""
    labels, predicted, names = (
        result.hits("label"),
        result.hits("predicted"),
        result.facts["classes"],
    )
    return class_errors(labels, predicted, result.hits("rank"), names, top), confusions(
        labels, predicted, names
    )


def of_claims(config: CheckConfig, root: Path) -> list[Row]:
    """What each claim rests on: its results, the trainings and evaluations behind them,
    by which commits and commands these were made, and what they cost.
    """
    decided = {
        verdict.claim for verdict in read_verdicts(config, root)[0] if verdict.decision != "not_run"
    }
    cells, rows = config.cells, list[Row]()
    for claim in CLAIMS:
        wanted = (
            [cell for cell in (claim.cell, claim.base) if cell in cells]
            if claim.id in decided
            else []
        )
        used = {cells[cell].hash: cells[cell] for cell in wanted}
        made: dict[str, StageConfig] = {}
        for member in (member for named in used.values() for member in named.members):
            made |= {
                part.hash: part
                for part in (member.classifier, member)
                if isinstance(part, StageConfig)
            }
        sealed = [sealing.unseal(part, root) for part in (*made.values(), *used.values())]
        origin = [facts["provenance"] for facts in sealed]
        rows.append(
            {
                "claim": claim.id,
                "results": " ".join(used),
                "commit": " ".join(
                    dict.fromkeys(
                        found["commit"][:12] + ("+" if found["dirty"] else "") for found in origin
                    )
                ),
                "commands": list(dict.fromkeys(found["command"] for found in origin)),
                "core_or_gpu_hours": sum(facts.get("core_or_gpu_hours", 0.0) for facts in sealed),
            }
        )
    return rows


def of_comparison(facts: ComparisonFacts, top: int) -> list[Row]:
    """The arms of an ablation: mean error over seeds and its spread, the difference to
    the first arm, p and what follows.
    """
    return [
        {"question": facts["question"], "top": top, **row}
        for row in (facts["top1"] if top == 1 else facts["top5"])
    ]


def forest(arms: Sequence[Row]) -> list[Row]:
    """What the forest plot of an ablation shows, in points: all arms but the first."""
    return [
        {
            "arm": row["arm"],
            "difference": 100 * row["difference"],
            "low": 100 * low,
            "high": 100 * high,
        }
        for row in arms
        if "interval" in row
        for low, high in [row["interval"]]
    ]


def of_verdicts(verdicts: Sequence[Verdict]) -> list[Row]:
    """Claim by claim."""
    return [asdict(verdict) for verdict in verdicts]


def as_csv(rows: Sequence[Row]) -> bytes:
    """With a line of names; an interval is two columns, others are joined by
    semicolons, and the best of an arm is three.
    """
    flat = [_flat(row) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return file.getvalue().encode()


def as_json(tables: dict[str, list[Row]]) -> bytes:
    """All tables in one file."""
    return (json.dumps(tables, indent=1) + "\n").encode()


def _flat(row: Row) -> Row:
    flat: Row = {}
    for name, value in row.items():
        if isinstance(value, list | tuple) and "interval" in name:
            flat |= {f"{name}_low": value[0], f"{name}_high": value[1]}
        elif isinstance(value, list | tuple):
            flat[name] = "; ".join(map(str, value))
        elif isinstance(value, dict):
            flat |= {f"{name}_{key}": item for key, item in value.items()}
        else:
            flat[name] = value
    return flat
