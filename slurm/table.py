"""The rows of a status, for people and for programs."""

import json
from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One line of the table.

    `note` says why a job waits or failed; `log` is the path of its log; `use` is what
    its first rank used of its cores and memory.
    """

    stage: str
    name: str
    state: str
    job: str = ""
    node: str = ""
    progress: str = ""
    left: str = ""
    note: str = ""
    log: str = ""
    use: str = ""


def table(rows: Sequence[Row]) -> str:
    """Return the rows as columns, with the path of the log below each failed stage."""
    heads = ("stage", "name", "state", "job", "node", "progress", "left", "note")
    lines = []
    for number, line in enumerate(columns([heads, *(row[: len(heads)] for row in rows)])):
        lines.append(line)
        if number and rows[number - 1].state == "failed" and rows[number - 1].log:
            lines.append(f"    log: {rows[number - 1].log}")
    return "\n".join(lines)


def columns(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return lines of cells, each column as wide as its longest cell."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def as_json(rows: Sequence[Row]) -> str:
    """Return the rows as a list of objects, whose fields are those of `Row`."""
    return json.dumps([row._asdict() for row in rows], indent=1)
