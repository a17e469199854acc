"""Tables as files, for spreadsheets and for programs."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.artefacts.verdict import Verdict
from pipeline.reporting.tables import Row

# what begins a formula; the wide ones in an East Asian spreadsheet
FORMULAS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def as_csv(rows: Sequence[Row | dict[str, Any]]) -> bytes:
    """Return a table as CSV, with a line of names.

    An interval has two columns, the best member of an arm has three. Other lists are
    joined by semicolons. A text that a spreadsheet would compute begins with a quote.
    """
    flat = [{name: _inert(value) for name, value in _flat(_plain(row)).items()} for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    file = io.StringIO()
    writer = csv.DictWriter(file, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return file.getvalue().encode()


def _inert(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula; numbers stay numbers.

    >>> _inert("=cmd()"), _inert(-0.5), _inert("+1.5"), _inert("a-b")
    ("'=cmd()", -0.5, '+1.5', 'a-b')
    """
    if not isinstance(value, str):
        return value
    try:
        float(value)
    except ValueError:
        text = value.replace("\r", " ")  # which ends a line, and csv does not quote it
        is_formula = text.lstrip()[:1] in FORMULAS or text[:1] in ("\t", "\n")
        return f"'{text}" if is_formula else text
    return value


def as_json(tables: Mapping[str, Sequence[Row]]) -> bytes:
    """Return all tables as one JSON text."""
    plain = {name: [_plain(row) for row in rows] for name, rows in tables.items()}
    return (json.dumps(plain, indent=1) + "\n").encode()


def _plain(row: Row | dict[str, Any]) -> dict[str, Any]:
    if isinstance(row, dict):
        return row
    return asdict(row) if isinstance(row, Verdict) else row.plain()


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
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
