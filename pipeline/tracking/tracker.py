"""Weights & Biases: mirrors what the files hold. Never raises, never the only copy of a
number.

Offline by default; the user's own WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY and
WANDB_BASE_URL are honoured.
"""

import base64
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from PIL import Image

from pipeline.artefacts import sealing
from pipeline.configs.base import StageConfig
from pipeline.configs.recipes import arm_of

# ours: GoogLeNet's weights; a larger file stays where it is, and is a reference
MAX_UPLOAD_BYTES = 32 * 2**20


class Tracker:
    """One W&B run for one artefact: its id is the artefact's hash, its group the study,
    its job type the stage.

    Steps are logged as fields (`trainer/step`, `epoch`), never as W&B's own step, so
    that a resumed run drops no row.
    """

    def __init__(self, config: StageConfig, root: Path, active: bool = True):
        self._run: Any = None
        self._config, self._root = config, root
        if active and os.environ.get("WANDB_MODE", "offline") != "disabled":
            self._guard(lambda: self._start(config))

    def _start(self, config: StageConfig) -> None:
        folder, online = self._root.absolute(), os.environ.get("WANDB_MODE") == "online"
        (folder / "wandb").mkdir(parents=True, exist_ok=True)
        # else wandb writes below the home folder
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            os.environ.setdefault(name, str(folder / "wandb"))
        # another process's: it would take a run that was killed for one that goes on
        os.environ.pop("WANDB_SERVICE", None)
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
            config={**config.model_dump(mode="json"), "arm": arm_of(config)},
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=20,
                # weights have to be uploaded, and a server may hang
                finish_timeout=120 if online else 60,
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

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Log a table of rows of the same names; a `picture` is a JPEG in base64, or
        empty.
        """
        self._guard(lambda: self._run.log({name: _table(rows)}) if self._run and rows else None)

    def conclude(self, figures: Mapping[str, float | int | None]) -> None:
        """Set the final figures of the artefact, now complete, and log it as one of
        W&B's, made from those of its inputs.
        """
        self._guard(lambda: self._run.summary.update(dict(figures)) if self._run else None)
        try:
            if self._run:
                self._publish()
        except Exception as error:
            print(
                f"W&B has no artifact of this stage ({type(error).__name__}: {error}); the files"
                " hold it",
                file=sys.stderr,
            )

    def _publish(self) -> None:
        for named in self._config.inputs:
            used = _artifact(named, self._root)
            # use_artifact, but offline too
            self._run._log_artifact(used, is_user_created=True, use_after_commit=True)
        self._run.log_artifact(_artifact(self._config, self._root))

    def _guard(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # whatever happens to the mirror, the files are complete
            self._run = None
            print(
                f"W&B is off for this stage ({type(error).__name__}: {error}); the files hold"
                " everything",
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
        self._guard(
            lambda: self._run.finish(exit_code=0 if kind is None else 1) if self._run else None
        )


def _table(rows: Sequence[Mapping[str, Any]]) -> Any:
    import wandb

    def cell(name: str | int, value: Any) -> Any:
        if name == "picture":
            return wandb.Image(Image.open(io.BytesIO(base64.b64decode(value)))) if value else None
        return value

    columns: list[str | int] = list(rows[0])
    return wandb.Table(
        columns=columns, data=[[cell(name, row[str(name)]) for name in columns] for row in rows]
    )


def _artifact(config: StageConfig, root: Path) -> Any:
    """A complete artefact as W&B's: the same for the run that made it and for those
    that use it.
    """
    import wandb

    sealed, folder = sealing.unseal(config, root), (root / config.folder).absolute()
    found = wandb.Artifact(
        f"{config.stage}-{config.hash}",
        type=config.artifact_type,
        metadata={
            "hash": config.hash,
            "digest": sealed["digest"],
            "folder": config.folder.as_posix(),
        },
    )
    for path in (folder / name for name in (*sealed["files"], config.last_file)):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.stat().st_size <= MAX_UPLOAD_BYTES:
            found.add_file(str(path), name=name, policy="immutable", skip_cache=True)
        elif path.is_file():
            found.add_reference(path.as_uri(), name=name, checksum=False)
    return found
