"""tracking.json, beside an artefact's files: what W&B is to show of it, under which
id.

It is written whether a server can be reached or not, so that nothing that wandb's own
client loses with a killed process is lost: the rows are in metrics.jsonl, the rest is
here, and `going-deeper sync` sends what the server does not have.
"""

import os
import secrets
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from pipeline.artefacts.metrics import read_metrics
from pipeline.configs.base import Frozen, StageConfig
from pipeline.configs.study import STAGES
from pipeline.configs.train import TrainConfig
from pipeline.runtime import disk

FILE = "tracking.json"


class Page(Frozen):
    """What W&B shows of one artefact. `sent`: no more rows than these were ever handed
    over. `delivered`: how much the server holds for sure: rows, and whether the
    figures. `published`: the error that those of the rows are compared with.
    """

    run_id: str
    group: str | None
    stage: str
    content: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]] = Field(default_factory=dict)
    figures: dict[str, float | None] | None = None
    sent: int = 0
    delivered: tuple[int, bool] | None = None
    published: float | None = None

    @property
    def config(self) -> StageConfig:
        """The artefact's."""
        return STAGES[self.stage].model_validate(self.content)

    def write(self, root: Path, **changes: Any) -> Self:
        """The page with fields replaced, also on the disk."""
        changed = self.but(**changes)
        disk.write_atomic(path_of(self.config, root), changed.model_dump_json().encode())
        return changed

    def renewed(self, root: Path) -> Self:
        """The page with another id, under which nothing was sent: the server's run was
        deleted, or holds rows that a resume took back.
        """
        return self.write(root, run_id=self.new_id(), sent=0, delivered=None)

    def new_id(self) -> str:
        """Another id for the same artefact."""
        return _new_id(self.config)

    def rows(self, root: Path, step: int | None = None) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl that no resume takes back: up to a checkpoint's
        `step` (by default the newest's), or all of a complete training.
        """
        config = self.config
        if not isinstance(config, TrainConfig):
            return []
        rows = read_metrics(config, root)
        if config.is_complete(root):
            return rows
        if step is None:
            # late: torch, for a training that was killed
            from pipeline.artefacts.checkpoints import Checkpoints

            newest = Checkpoints(root / config.folder / "checkpoints").newest()
            step = int(newest.name.rpartition("_")[2]) if newest else 0
        return [row for row in rows if row["step"] <= step]

    def is_delivered(self, root: Path) -> bool:
        """Whether the server holds all that there is by now."""
        return self.delivered == (len(self.rows(root)), self.figures is not None)


def path_of(config: StageConfig, root: Path) -> Path:
    """Where the page of an artefact is."""
    return root / config.folder / FILE


def begin(config: StageConfig, root: Path) -> Page:
    """The page of an artefact, made if there is none. Of several processes that make it
    at once, the first wins, and a requeue finds it.
    """
    page = Page(
        run_id=_new_id(config),
        group=os.environ.get("WANDB_RUN_GROUP"),
        stage=config.stage,
        content=config.model_dump(mode="json"),
    )
    disk.publish(path_of(config, root), page.model_dump_json().encode())
    return read(path_of(config, root))


def read(path: Path) -> Page:
    """The page in a file.

    Raises:
        ValueError: it is damaged.
    """
    return Page.model_validate_json(path.read_text())


def run_id(config: StageConfig, root: Path) -> str | None:
    """Under which id W&B knows an artefact, if it was tracked."""
    try:
        return read(path_of(config, root)).run_id
    except (OSError, ValueError):
        return None


def _new_id(config: StageConfig) -> str:
    return f"{config.hash}-{secrets.token_hex(4)}"


def pages(root: Path) -> list[Path]:
    """The pages below a root, inputs before what is made from them."""
    return [
        path for kind in STAGES.values() for path in sorted((root / kind.room).glob(f"*/{FILE}"))
    ]
