"""Make a run on W&B's server equal to an artefact's files.

What the server has is not sent again. W&B numbers the rows of a history from 0, and
only appends. Row k is row k of metrics.jsonl; the tables follow. The number of the next
row says what is missing. Only rows that a checkpoint covers are sent, because a resume
removes the others.
"""

import base64
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.artefacts import sealing
from pipeline.configs.base import StageConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.recipes import arm_of
from pipeline.runtime.environment import without_secrets
from pipeline.tracking.agent import refuse_agent
from pipeline.tracking.page import Page

# ours: GoogLeNet's weights fit; a larger file stays in its folder, as a reference
MAX_UPLOAD_BYTES = 32 * 2**20
INIT_SECONDS = 20  # ours: a server that hangs must not delay a stage
FINISH_SECONDS = 120  # ours: weights have to be uploaded


class Mirror:
    """An open run of W&B.

    A run gets another id if the server deleted it (HTTP 409 or 410), or if it holds
    more rows than the files.
    """

    def __init__(self, page: Page, root: Path, step: int | None = None):
        refuse_agent(os.environ)
        self.page, self._root, self._config = page, root, page.config
        _keep_below(root)
        self._run = self._open()
        if self._run.starting_step > self._num_entries(step):
            self._run.finish(exit_code=1)
            self.page = self.page.renewed(root)
            self._run = _init(self.page, root)
        self._next: int = self._run.starting_step
        self._run.define_metric("trainer/step")
        self._run.define_metric("*", step_metric="trainer/step")

    def _open(self) -> Any:
        """Open the run; if the server refuses its id, open it under another id."""
        try:
            return _init(self.page, self._root)
        except Exception as error:
            if "Timed out" in str(error) and "HTTP 409" not in str(error):
                raise  # there is no server, so nothing is known about this id
            other = self.page.but(run_id=self.page.new_id(), sent=0, delivered=None)
            try:
                run = _init(other, self._root)
            except Exception:
                raise error from None
            self.page = other.write(self._root)
            return run

    def send(self, step: int | None = None) -> None:
        """Send the rows that are missing (see `Page.rows`), and the tables."""
        count = self._num_entries(step)
        if self.page.sent < count:
            self.page = self.page.write(self._root, sent=count)
        for entry in islice(self._entries(step), self._next, count):
            self._run.log(entry)
        self._next = max(self._next, count)

    def finish(self) -> None:
        """Send everything that is missing, and check that the server has all rows.

        Raises:
            RuntimeError: the server lacks rows.
        """
        self.send()
        is_complete, figures = self._config.is_complete(self._root), self.page.figures
        if figures is not None:
            self._run.summary.update(figures)
        if is_complete:
            self._publish()
        elif self.page.preempted:
            self.mark_preempting()
        self.close(0 if is_complete else 1)
        if (number := rows_on_server(self._run.path)) < self._next:
            raise RuntimeError(f"the server has {number} of {self._next} rows")
        state = self.page.num_rows(self._root), figures is not None
        self.page = self.page.write(self._root, delivered=state, url=self._run.url)

    def mark_preempting(self) -> None:
        """Tell the server that the run is ended from outside, and did not fail."""
        self._run.mark_preempting()

    def alert(self, title: str, text: str, is_failure: bool) -> None:
        """Have W&B write to the user (by mail or Slack, as the user's settings say)."""
        self._run.alert(title, text, level="ERROR" if is_failure else "INFO")

    def close(self, exit_code: int) -> None:
        """End the run; it can go on later."""
        self._run.finish(exit_code=exit_code)

    def _entries(self, step: int | None) -> Iterator[dict[str, Any]]:
        for row in self.page.rows(self._root, step):
            yield self._columns(row)
        for name, table in self.page.tables.items():
            if table:
                yield {name: _table(table)}

    def _num_entries(self, step: int | None) -> int:
        return self.page.num_rows(self._root, step) + sum(map(bool, self.page.tables.values()))

    def _columns(self, row: Mapping[str, Any]) -> dict[str, Any]:
        columns = {"trainer/step": row["step"], **{k: v for k, v in row.items() if k != "step"}}
        error, published = row.get("val_top5_error_averaged"), self.page.published
        if error is not None and published is not None:
            columns |= {"published_top5_error": published, "gap_to_published": error - published}
        return columns

    def _publish(self) -> None:
        """Log the artefact as an artifact of W&B, made from those of its inputs."""
        for source in self._config.inputs:
            # as use_artifact does, but without its wait
            self._run._log_artifact(
                _artifact(source, self._root), is_user_created=True, use_after_commit=True
            )
        self._run.log_artifact(_artifact(self._config, self._root))


def rows_on_server(path: str) -> int:
    """Return the number of rows in the history of a run, `entity/project/id`."""
    import wandb

    return 1 + int(wandb.Api(timeout=INIT_SECONDS).run(path).lastHistoryStep)


def _keep_below(root: Path) -> None:
    """Make wandb write below the root, not below the home folder.

    The folder is the user's alone, as wandb makes files there that all may write to.
    """
    folder = root.absolute() / "wandb"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        os.environ.setdefault(name, str(folder))
    # this is another process's service, which would treat a killed run as still running
    os.environ.pop("WANDB_SERVICE", None)


def _init(page: Page, root: Path) -> Any:
    import wandb

    config = page.config
    # W&B's service, which starts here, uploads all variables that begin with SLURM_
    with without_secrets("WANDB_"):
        return wandb.init(
            id=page.run_id,
            name=f"{config.stage}-{config.hash}",
            group=page.group,
            job_type=config.stage,
            project=os.environ.get("WANDB_PROJECT", "going-deeper"),
            mode="online",
            dir=os.environ.get("WANDB_DIR", str(root.absolute())),
            resume="allow",
            config=config.model_dump(mode="json")
            | {"arm": arm_of(config), "data_content": _content(config, root)},
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
                x_save_requirements=False,
                disable_git=True,
                disable_code=True,
            ),
        )


def _content(config: StageConfig, root: Path) -> list[str]:
    """Return the digests of the data sets that an artefact was made from.

    Two data sets may have one name.
    """
    if isinstance(config, PrepareConfig):
        is_there = config.is_complete(root)
        return [sealing.DATASET.unseal(config, root).digest] if is_there else []
    return sorted({digest for each in config.inputs for digest in _content(each, root)})


def _table(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return a table of rows with the same names.

    A `picture` is a JPEG in base64, or empty.
    """
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
    """Return a complete artefact as an artifact of W&B.

    It is the same for the run that made it and for the runs that use it.
    """
    import wandb

    sealed, folder = sealing.unseal(config, root), (root / config.folder).absolute()
    artifact = wandb.Artifact(
        f"{config.stage}-{config.hash}",
        type=config.artifact_type,
        metadata={
            "hash": config.hash,
            "digest": sealed.digest,
            "folder": config.folder.as_posix(),
        },
    )
    for path in (folder / name for name in (*sealed.files, config.last_file)):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.stat().st_size <= MAX_UPLOAD_BYTES:
            artifact.add_file(str(path), name=name, policy="immutable", skip_cache=True)
        elif path.is_file():
            artifact.add_reference(path.as_uri(), name=name, checksum=False)
    return artifact
