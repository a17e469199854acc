"""metrics.jsonl of a training: a row for each window of steps and each validation."""

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.configs.train import TrainConfig

BLOCK = 8192  # ours: some 30 rows


def metrics_path(config: TrainConfig, root: Path) -> Path:
    """Where the rows are."""
    return root / config.folder / "metrics.jsonl"


def read_metrics(config: TrainConfig, root: Path, last: int | None = None) -> list[dict[str, Any]]:
    """The rows logged so far; with `last`, at most so many, and only the end of the
    file is read.
    """
    try:
        with metrics_path(config, root).open("rb") as file:
            lines = _whole(file.read().splitlines()) if last is None else _last(file, last)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def _last(file: BinaryIO, count: int) -> list[bytes]:
    """The last lines: a block from the end, a larger one until it holds enough."""
    end, size = file.seek(0, os.SEEK_END), BLOCK
    while True:
        start = max(0, end - size)
        file.seek(start)
        lines = file.read(end - start).splitlines()
        whole = _whole(lines[1:] if start else lines)  # the block may cut its first
        if start == 0 or len(whole) >= count:
            return whole[-count:]
        size *= 2


def _whole(lines: list[bytes]) -> list[bytes]:
    # the last may be torn by a power cut
    return [line for line in lines if line.endswith(b"}")]
