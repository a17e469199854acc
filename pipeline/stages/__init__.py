"""The stages: plain functions `stage(config, root) -> artefact`. Calling one again is always right."""

from importlib import import_module
from pathlib import Path

from pipeline.study import StageConfig

MULTI_RANK = frozenset({"train", "evaluate"})  # stages that share their work among ranks


def run_stage(config: StageConfig, root: Path) -> None:
    """Run the stage that a config belongs to; its module is imported only now, as some load torch."""
    module = import_module(f"pipeline.stages.{config.stage}")
    getattr(module, config.stage)(config, root)


def run_part(config: StageConfig, root: Path, part: int, num_parts: int) -> None:
    """Do a part of a stage that can be done in parts; the stage does what is left, and concludes."""
    module = import_module(f"pipeline.stages.{config.stage}")
    getattr(module, f"{config.stage}_part")(config, root, part, num_parts)
