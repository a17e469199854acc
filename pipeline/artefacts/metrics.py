"""metrics.jsonl of a training: a row for each window of steps and each validation."""

import json
from pathlib import Path
from typing import Any

from pipeline.configs.train import TrainConfig


def metrics_path(config: TrainConfig, root: Path) -> Path:
    """Where the rows are."""
    return root / config.folder / "metrics.jsonl"


def read_metrics(config: TrainConfig, root: Path) -> list[dict[str, Any]]:
    """The rows logged so far."""
    path = metrics_path(config, root)
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    # the last may be torn by a power cut
    return [json.loads(line) for line in lines if line.endswith("}")]
