"""The stages: plain functions `stage(config, root) -> artefact`.

A stage may be called again at any time: it does what is missing.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.configs.base import StageConfig


def module_of(stage: str) -> str:
    """Return the name of a stage's module.

    The module is imported only when the stage runs, as some modules import torch.
    """
    return f"pipeline.stages.{stage}"


def run_stage(config: StageConfig, root: Path, **resources: Any) -> None:
    """Run the stage that a config belongs to."""
    getattr(import_module(module_of(config.stage)), config.stage)(config, root, **resources)


def run_part(config: StageConfig, root: Path, part: int, num_parts: int) -> None:
    """Do a part of a stage that can be done in parts.

    The stage itself does the rest, and completes the artefact.
    """
    getattr(import_module(module_of(config.stage)), f"{config.stage}_part")(
        config, root, part, num_parts
    )
