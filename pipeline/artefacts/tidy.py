"""Remove what a complete artefact no longer needs, where a kill left it."""

import re
import sys
from pathlib import Path

from pipeline.configs.base import StageConfig
from pipeline.runtime import remains

UNMARKED = re.compile(r"\..+\.[0-9a-f]{32}")  # an unfinished file of an earlier version


def tidy(config: StageConfig, root: Path) -> None:
    """Remove the remains in the folder of a complete artefact, and say so in a line.

    A kill just behind the seal leaves what was needed only before, such as checkpoints.
    """
    folder = root / config.folder
    old = [path for path in folder.glob("**/.*") if UNMARKED.fullmatch(path.name)]
    for path in [*(folder / name for name in config.scratch), *old]:
        if path.exists() and remains.remove(path):
            print(f"{path}: removed, as the artefact is complete", file=sys.stderr)
    for inner in (folder, *(path for path in folder.glob("**/") if path != folder)):
        remains.sweep(inner)
