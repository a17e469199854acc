"""Weights & Biases mirrors the files. It never raises, and holds no number's only copy.

The default is offline: a stage writes only the artefact's page, and `going-deeper sync`
sends it. The user's WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY and WANDB_BASE_URL count.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.configs.base import StageConfig
from pipeline.errors import StageEnded, present
from pipeline.tracking import page as pages
from pipeline.tracking.mirror import Mirror
from pipeline.tracking.page import Page


class Tracker:
    """One W&B run for one artefact.

    The run's id is the artefact's hash and a suffix that its folder keeps. Its group is
    the study, its job type the stage. A training goes on after `step` steps.
    `published` is the error that its validations are compared with, or None where the
    published error says nothing about them.
    """

    def __init__(
        self,
        config: StageConfig,
        root: Path,
        active: bool = True,
        step: int | None = None,
        published: float | None = None,
    ):
        self._root = root
        self._page: Page | None = None
        self._mirror: Mirror | None = None
        mode = os.environ.get("WANDB_MODE", "offline")
        if active and mode != "disabled":
            self._guard(lambda: self._start(config, mode == "online", step, published))

    def _start(
        self, config: StageConfig, online: bool, step: int | None, published: float | None
    ) -> None:
        page = pages.begin(config, self._root)
        if step is not None and page.sent > page.num_rows(self._root, step):
            page = page.renewed(self._root)  # the server may have rows that were removed
        self._page = page.write(self._root, published=published, preempted=False)
        if online:
            self._mirror = Mirror(self._page, self._root, step)
            self.send(step)

    def send(self, step: int | None) -> None:
        """Send the rows up to a checkpoint's step; no resume removes them."""
        self._guard(lambda: self._mirror.send(step) if self._mirror else None)

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Show a table of rows with the same names.

        A `picture` is a JPEG in base64, or empty.
        """
        if self._page:
            table = {name: [dict(row) for row in rows]}
            self._guard(lambda: self._change(tables=self._newest_page().tables | table))

    def conclude(self, figures: Mapping[str, float | int | None]) -> None:
        """Set the final figures of the artefact."""
        self._guard(lambda: self._change(figures=dict(figures)))

    def preempt(self) -> None:
        """Say that a signal ends this attempt, and that the next one goes on."""
        self._guard(lambda: self._change(preempted=True))
        self._guard(lambda: self._mirror.mark_preempting() if self._mirror else None)

    def _change(self, **changes: Any) -> None:
        if self._page is None:
            return
        # from the file, which the mirror may have changed before it stopped
        self._page = self._newest_page().write(self._root, **changes)
        if self._mirror:
            self._mirror.page = self._page

    def _newest_page(self) -> Page:
        page = present(self._page, "a page of tracking")
        return pages.read(pages.path_of(page.config, self._root))

    def _guard(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # whatever happens to the mirror, the files are complete
            self._mirror = None
            print(
                f"W&B is off for this stage ({type(error).__name__}: {error}); the files hold"
                " everything, and going-deeper sync sends it",
                file=sys.stderr,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and issubclass(kind, SystemExit | StageEnded):
            self.preempt()
        if mirror := self._mirror:
            self._guard(mirror.finish if kind is None else lambda: mirror.close(1))
