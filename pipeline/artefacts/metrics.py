"""metrics.jsonl of a training: a row for each window of steps and each validation."""

import json
import os
import sys
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from pipeline.artefacts import sealing
from pipeline.artefacts.contents import Validation
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError

PREFIX = "val_"  # begins the name of each validation error in a row

METRICS = "metrics.jsonl"
Row = dict[str, float]
BLOCK = 8192  # ours: some 30 rows


def metrics_path(config: TrainConfig, root: Path) -> Path:
    """Return the path of a training's metrics log."""
    return root / config.folder / METRICS


def read_metrics(config: TrainConfig, root: Path, last: int | None = None) -> list[Row]:
    """Return the rows that were logged so far.

    With `last`, return at most so many, and read only the end of the file. Damaged
    lines are left out.

    Raises:
        InputError: the training is complete, and the file is not what was sealed.
    """
    try:
        if last is None:
            return _all_rows(config, root)[0]
        with metrics_path(config, root).open("rb") as file:
            return _last(file, last)
    except FileNotFoundError:
        return []


def _all_rows(config: TrainConfig, root: Path) -> tuple[list[Row], int]:
    """Return all rows, and the number of damaged lines; of a sealed file none is."""
    if config.is_complete(root):
        sealing.sealed_file(config, root, METRICS)
    return rows_of(metrics_path(config, root).read_bytes())


def rows_of(content: bytes) -> tuple[list[Row], int]:
    """Return the rows of a log, and the number of its damaged lines.

    A last line that a power cut tore does not count as damaged.
    """
    lines = content.splitlines()
    rows = _whole(lines)
    is_torn = bool(lines) and not content.endswith(b"\n") and _row(lines[-1]) is None
    return rows, len(lines) - len(rows) - is_torn


def columns_of(errors: Validation) -> dict[str, float]:
    """Return the errors of a validation, by their names in a row."""
    return {f"{PREFIX}{name}": value for name, value in errors.plain().items()}


def validations(config: TrainConfig, root: Path) -> list[tuple[float, Validation]]:
    """Return the epoch and the errors of each validation so far.

    Raises:
        InputError: a row lacks an error, or has one that is unknown.
    """
    path, rows = metrics_path(config, root), []
    is_there = path.is_file() or config.is_complete(root)
    all_rows, num_damaged = _all_rows(config, root) if is_there else ([], 0)
    if num_damaged:
        print(f"{path}: {num_damaged} damaged lines are left out", file=sys.stderr)
    for row in all_rows:
        errors = {
            name.removeprefix(PREFIX): value
            for name, value in row.items()
            if name.startswith(PREFIX)
        }
        try:
            if errors and "epoch" in row:
                rows.append((row["epoch"], Validation.model_validate(errors)))
        except ValidationError:
            raise InputError(
                f"{path}: has a validation with the errors"
                f" {', '.join(errors)}; expected {', '.join(Validation.model_fields)}"
            ) from None
    return rows


def _last(file: BinaryIO, count: int) -> list[Row]:
    """Return the last rows; read a block from the end, and a larger one if needed."""
    end, size = file.seek(0, os.SEEK_END), BLOCK
    while True:
        start = max(0, end - size)
        file.seek(start)
        lines = file.read(end - start).splitlines()
        whole = _whole(lines[1:] if start else lines)  # the block may cut its first line
        if start == 0 or len(whole) >= count:
            return whole[-count:]
        size *= 2


def _whole(lines: list[bytes]) -> list[Row]:
    return [row for row in map(_row, lines) if row is not None]


def _row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # bytes that are no text, too
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
