"""Weights & Biases: mirrors what the files hold. Never raises, never the only copy of a number.

Offline by default; the user's own WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY and WANDB_BASE_URL are honoured.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.study import StageConfig


class Tracker:
    """One W&B run for one artefact: its id is the artefact's hash, its group the study, its job type the stage.

    Steps are logged as fields (`trainer/step`, `epoch`), never as W&B's own step, so that a resumed run drops no row.
    """

    def __init__(self, config: StageConfig, root: Path, active: bool = True):
        self._run: Any = None
        if active and os.environ.get("WANDB_MODE", "offline") != "disabled":
            self._guard(lambda: self._start(config, root))

    def _start(self, config: StageConfig, root: Path) -> None:
        folder, online = root.absolute(), os.environ.get("WANDB_MODE") == "online"
        (folder / "wandb").mkdir(parents=True, exist_ok=True)
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):  # else wandb writes below the home folder
            os.environ.setdefault(name, str(folder / "wandb"))
        import wandb

        self._run = wandb.init(
            id=config.hash,
            name=f"{config.stage}-{config.hash}",
            group=os.environ.get("WANDB_RUN_GROUP"),
            job_type=config.stage,
            project=os.environ.get("WANDB_PROJECT", "going-deeper"),
            mode=os.environ.get("WANDB_MODE", "offline"),  # type: ignore[arg-type]
            dir=os.environ.get("WANDB_DIR", str(folder)),
            resume="allow" if online else None,
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=20,
                finish_timeout=6 if online else 60,  # a server may hang; the local file is only slow on a busy machine
                x_transaction_log_flush_interval=1,
                x_save_requirements=False,
                disable_git=True,
                disable_code=True,
            ),
        )
        self._run.define_metric("trainer/step")
        self._run.define_metric("*", step_metric="trainer/step")

    def log(self, metrics: dict[str, float | int]) -> None:
        """Log one row."""
        self._guard(lambda: self._run.log(metrics) if self._run else None)

    def summarise(self, metrics: dict[str, float | int | None]) -> None:
        """Set the artefact's final figures."""
        self._guard(lambda: self._run.summary.update(metrics) if self._run else None)

    def _guard(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # whatever happens to the mirror, the files are complete
            self._run = None
            print(f"W&B is off for this stage ({type(error).__name__}: {error}); the files hold everything", file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._guard(lambda: self._run.finish(exit_code=0 if kind is None else 1) if self._run else None)
