"""tracking.json, beside an artefact's files: what W&B shows of it, and under which id.

A stage writes the file even if no server answers. wandb's own client loses data with a
killed process; here nothing is lost. The rows are in metrics.jsonl, the rest is in this
file, and `going-deeper sync` sends what the server lacks.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from pipeline.artefacts.metrics import Row, each_row
from pipeline.configs.base import Frozen, StageConfig
from pipeline.configs.study import STAGES
from pipeline.configs.train import TrainConfig
from pipeline.runtime import disk

FILE = "tracking.json"


class Page(Frozen):
    """What W&B shows of one artefact.

    `sent`: the largest number of rows that were sent. `delivered`: the number of rows
    that the server certainly holds, and whether it holds the figures; `url` shows them.
    `published`: the published error, which the errors of the rows are compared with.
    `preempted`: a signal ended the last attempt, and the next one goes on from there.
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
    preempted: bool = False
    url: str | None = None

    @property
    def config(self) -> StageConfig:
        """The artefact's config."""
        return STAGES[self.stage].model_validate(self.content)

    def write(self, root: Path, **changes: Any) -> Self:
        """Return the page with fields replaced, and write it to the disk."""
        changed = self.but(**changes)
        disk.write_atomic(path_of(self.config, root), changed.model_dump_json().encode())
        return changed

    def renewed(self, root: Path) -> Self:
        """Return the page with another id, under which nothing was sent.

        The old run on the server was deleted, or holds rows that a resume removed.
        """
        return self.write(root, run_id=self.new_id(), sent=0, delivered=None)

    def new_id(self) -> str:
        """Return another id for the same artefact."""
        return _new_id(self.config)

    def rows(self, root: Path, step: int | None = None) -> Iterator[Row]:
        """Yield the rows of metrics.jsonl that no resume removes.

        These are the rows up to a checkpoint's `step` (by default the newest one's), or
        all rows of a complete training.
        """
        config = self.config
        if not isinstance(config, TrainConfig):
            return
        if config.is_complete(root):
            step = None
        elif step is None:
            # late, as this imports torch, and only a training that was killed needs it
            from pipeline.artefacts.checkpoints import Checkpoints

            newest = Checkpoints(root / config.folder / "checkpoints", config.hash).newest()
            step = int(newest.name.rpartition("_")[2]) if newest else 0
        for row in each_row(config, root):
            if step is None or row["step"] <= step:
                yield row

    def num_rows(self, root: Path, step: int | None = None) -> int:
        """Return how many rows there are (see `rows`)."""
        return sum(1 for _ in self.rows(root, step))

    def is_delivered(self, root: Path) -> bool:
        """Return whether the server holds everything that the files hold now."""
        return self.delivered == (self.num_rows(root), self.figures is not None)


def path_of(config: StageConfig, root: Path) -> Path:
    """Return the path of an artefact's page."""
    return root / config.folder / FILE


def begin(config: StageConfig, root: Path) -> Page:
    """Return the page of an artefact; make it if there is none.

    If several processes make it at once, the first wins. A requeued job finds it.
    """
    disk.publish(path_of(config, root), new_page(config).model_dump_json().encode())
    return read(path_of(config, root))


def new_page(config: StageConfig) -> Page:
    """Return a page that no file holds yet."""
    return Page(
        run_id=_new_id(config),
        group=os.environ.get("WANDB_RUN_GROUP"),
        stage=config.stage,
        content=config.model_dump(mode="json"),
    )


def read(path: Path) -> Page:
    """Read the page in a file.

    Raises:
        ValueError: the file is damaged.
    """
    return Page.model_validate_json(path.read_text())


def run_id(config: StageConfig, root: Path) -> str | None:
    """Return the id of an artefact at W&B; None if it was not tracked."""
    try:
        return read(path_of(config, root)).run_id
    except (OSError, ValueError):
        return None


def _new_id(config: StageConfig) -> str:
    return f"{config.hash}-{secrets.token_hex(4)}"


def pages(root: Path) -> list[Path]:
    """Return the pages below a root; inputs come before what is made from them."""
    return [
        path for kind in STAGES.values() for path in sorted((root / kind.room).glob(f"*/{FILE}"))
    ]
