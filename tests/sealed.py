"""Artefacts that were never made, sealed with facts that are made up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.artefacts import sealing
from pipeline.artefacts.contents import (
    EvaluationFacts,
    MachineFacts,
    ManifestFacts,
    PredictionsFacts,
    RunFacts,
    Validation,
)
from pipeline.artefacts.digests import seal_of
from pipeline.artefacts.facts import Facts
from pipeline.artefacts.metrics import METRICS
from pipeline.configs.base import StageConfig
from pipeline.runtime.disk import as_json

MACHINE = MachineFacts(world_size=1, device="cpu", operators=True, area_by_library=True)
EVALUATION = EvaluationFacts(num_images=6, world_size=1, device="cpu", num_rejected=0)
VALIDATION = Validation(
    top1_error_raw=0.5, top5_error_raw=0.0, top1_error_averaged=0.5, top5_error_averaged=0.0
)
MADE_UP: dict[str, Facts] = {
    "prepare": ManifestFacts(
        classes=["a", "b"],
        num_files=6,
        num_images={"train": 4, "val": 2},
        num_rejected=0,
        num_unreadable=0,
        images_per_class={"train": [2, 2], "val": [1, 1]},
        num_leaks=0,
        num_bytes=600,
        shards="shards/0",
        source_fingerprint="0",
        source_md5={},
    ),
    "train": RunFacts(
        **dict(MACHINE),
        steps=2,
        seconds=1.0,
        attempts=1,
        core_or_gpu_hours=0.0,
        num_parameters=3,
        validation=VALIDATION,
        best_step=2,
    ),
    "evaluate": PredictionsFacts(
        **dict(EVALUATION),
        bad_images={},
        engines=["drawn"],
        core_or_gpu_seconds=0.0,
        core_or_gpu_hours=0.0,
    ),
}


def run_facts(**changes: Any) -> RunFacts:
    """Return the facts of a training, made up but for `changes`."""
    return RunFacts.model_validate({**MADE_UP["train"].plain(), **changes})


def seal(config: StageConfig, root: Path, **changes: Any) -> None:
    """Seal an artefact without files; its facts are made up but for `changes`."""
    facts = MADE_UP[config.stage]
    changed = type(facts).model_validate({**facts.plain(), **changes})
    metrics = root / config.folder / METRICS
    timed = [metrics] if metrics.is_file() else []
    sealing.STAGES[config.stage].seal(config, root, [], changed, timed=timed)


def reseal(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a last file, and give it the digest that it has then."""
    facts = json.loads(path.read_text())
    edit(facts)
    path.write_bytes(as_json(facts | {"seal": seal_of(facts)}))
