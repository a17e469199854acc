"""The audit of Table 1 for people and machines."""

import json
from typing import Any

import torch
from torchvision import models

from pipeline.paper import audit
from pipeline.paper.published import TABLE3, Cell
from pipeline.reporting.wording import AUDIT_TITLES


def audit_facts() -> dict[str, Any]:
    """Return all results of the audit as plain values."""
    rows = [
        {
            "name": row.name,
            "output": list(row.counted.output),
            "printed_output": list(row.printed.output),
            "weights": row.counted.weights,
            "biases": row.counted.biases,
            "multiply_adds": row.counted.macs,
            "params_k": round(row.params_k, 2),
            "printed_params_k": row.printed.params,
            "ops_m": round(row.ops_m, 2),
            "printed_ops_m": row.printed.ops,
            "agrees": row.agrees,
            "note": row.note,
        }
        for row in audit.table1()
    ]
    examples = {
        "totals": [example._asdict() for example in audit.totals()],
        "neighbours": [example._asdict() for example in neighbours()],
        "examples": [example._asdict() for example in audit.examples()],
        "table3_differences": [example._asdict() for example in audit.table3_differences()],
    }
    return {"table1": rows, **examples, "table3_base": TABLE3[Cell(1, 1)]}


def neighbours() -> tuple[audit.Example, ...]:
    """Count the parameters of torchvision's GoogLeNet, which is another network: batch
    norm, 3x3 in place of 5x5, no LRN.
    """
    with torch.device("meta"):
        plain, heads = (
            models.googlenet(weights=None, aux_logits=aux, init_weights=False)
            for aux in (False, True)
        )
    counts = (sum(p.numel() for p in network.parameters()) for network in (plain, heads))
    return tuple(
        audit.Example(what, "torchvision.models.googlenet", stated, count)
        for what, stated, count in zip(
            ("torchvision's GoogLeNet, parameters", "with both heads"),
            (6_624_904, 13_004_888),
            counts,
            strict=True,
        )
    )


def audit_json() -> str:
    """Return the facts of the audit as JSON."""
    return json.dumps(audit_facts(), indent=1)


def audit_text() -> str:
    """Return the facts of the audit as plain tables."""
    facts = audit_facts()
    lines = [
        (
            "Table 1, printed and counted: K = 1024 weights, M = 10^6 multiply-adds, biases not"
            " counted"
        ),
        "",
    ]
    row_format = "{:9} {:>14} {:>9} {:>8} {:>8} {:>8}  {:6}  {}"
    lines.append(
        row_format.format(
            "row", "output", "params K", "printed", "ops M", "printed", "agrees", "note"
        )
    )
    for row in facts["table1"]:
        figures = [row[key] for key in ("params_k", "printed_params_k", "ops_m", "printed_ops_m")]
        shown = ["" if row["printed_params_k"] is None else f"{value:g}" for value in figures]
        output = "x".join(map(str, row["output"]))
        lines.append(
            row_format.format(
                row["name"], output, *shown, "yes" if row["agrees"] else "NO", row["note"]
            ).rstrip()
        )
    for key, title in AUDIT_TITLES.items():
        lines += ["", title, f"  {'':48} {'stated':>13} {'found':>13}"]
        for example in facts[key]:
            stated, count = (f"{example[which]:,.12g}" for which in ("stated", "found"))
            differs = "" if stated == count else "  differs"
            lines.append(
                f"  {example['what']:48} {stated:>13} {count:>13}  {example['formula']}{differs}"
            )
    return "\n".join(lines)
