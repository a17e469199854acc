"""metrics.jsonl of a training: a row for each window of steps and each validation."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
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
    if last is None:
        return list(each_row(config, root))
    try:
        with metrics_path(config, root).open("rb") as file:
            return _last(file, last)
    except FileNotFoundError:
        return []


def each_row(config: TrainConfig, root: Path) -> Iterator[Row]:
    """Yield the rows that were logged so far; only one is in memory.

    Damaged lines are left out.

    Raises:
        InputError: see `read_metrics`.
    """
    return (row for row in _each_line(config, root) if row is not None)


def _each_line(config: TrainConfig, root: Path) -> Iterator[Row | None]:
    """Yield each row, and None for a damaged line; a sealed file has none."""
    if config.is_complete(root):
        sealing.sealed_file(config, root, METRICS)
    with suppress(FileNotFoundError), metrics_path(config, root).open("rb") as file:
        yield from rows_in(file)


def rows_in(lines: Iterable[bytes]) -> Iterator[Row | None]:
    """Yield the row of each line of a log, or None where the line is damaged.

    A last line that a power cut tore does not count as damaged.
    """
    for line in lines:
        row = _row(line)
        if row is not None or line.endswith(b"\n"):
            yield row


def columns_of(errors: Validation) -> dict[str, float]:
    """Return the errors of a validation, by their names in a row."""
    return {f"{PREFIX}{name}": value for name, value in errors.plain().items()}


def validations(config: TrainConfig, root: Path) -> list[tuple[float, Validation]]:
    """Return the epoch and the errors of each validation so far.

    Raises:
        InputError: a row lacks an error, or has one that is unknown.
    """
    path, rows, num_damaged = metrics_path(config, root), [], 0
    for row in _each_line(config, root):
        if row is None:
            num_damaged += 1
            continue
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
    if num_damaged:
        print(f"{path}: {num_damaged} damaged lines are left out", file=sys.stderr)
    return rows


def _last(file: BinaryIO, count: int) -> list[Row]:
    """Return the last rows; read a block from the end, and a larger one if needed."""
    end, size = file.seek(0, os.SEEK_END), BLOCK
    while True:
        start = max(0, end - size)
        file.seek(start)
        lines = file.read(end - start).splitlines()
        if start:
            del lines[0]  # the block may cut it
        whole = [row for row in map(_row, lines) if row is not None]
        if start == 0 or len(whole) >= count:
            return whole[-count:]
        size *= 2


def _row(line: bytes) -> Row | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # bytes that are no text, too
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int) else None
