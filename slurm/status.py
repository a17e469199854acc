"""The status of a study, from its artefacts, the notes in jobs/, and squeue.

It works without accounting, and without SLURM.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipeline.artefacts import locks, sealing
from pipeline.artefacts.manifest import num_images
from pipeline.artefacts.metrics import read_metrics
from pipeline.configs.base import StageConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.paper import schedule
from slurm import queue
from slurm.ledger import Entry, conclusion, find, order_name, outcomes

PATIENCE = 20  # ours: squeue may fail so often in a row while a command waits
CANCELLED = "cancelled"


class Row(NamedTuple):
    """One line of the table.

    `note` says why a job waits or failed; `log` is the path of its log.
    """

    stage: str
    name: str
    state: str
    job: str = ""
    node: str = ""
    progress: str = ""
    left: str = ""
    note: str = ""
    log: str = ""


def status(study: Study, root: Path) -> list[Row]:
    """Return the rows of a study's stages and of the job that concludes it.

    Raises:
        InputError: jobs were submitted to SLURM, and its commands are missing.
    """
    configs = [config for config in study.stages if config.has_job]
    stages = [(config, order_name(config)) for config in configs]
    entries = {name: entry for _, name in stages if (entry := find(root, name))}
    parts = {f"part-{c.hash}": e for c in configs if (e := find(root, f"part-{c.hash}"))}
    last = find(root, conclusion(study))
    submitted = [*entries.values(), *parts.values(), *([last] if last else [])]
    known = queue.jobs([entry.job_id for entry in submitted if entry.cluster == "slurm"])
    rows: dict[str, Row] = {}
    for config, name in stages:
        row = _row(
            config.stage,
            config.hash,
            config,
            root,
            entries.get(name),
            parts.get(f"part-{config.hash}"),
            known,
        )
        failures = [
            rows[source.hash]
            for source in config.inputs
            if source.hash in rows and rows[source.hash].state == "failed"
        ]
        # SLURM cancels a job that can never start
        if row.state == "failed" and row.note == CANCELLED and failures:
            cause = failures[0]
            row = row._replace(note=f"not run, as {cause.stage} {cause.name} failed")
        rows[config.hash] = row
    return [*rows.values(), _row("conclude", study.name, study, root, last, None, known)]


def _row(
    stage: str,
    label: str,
    config: StageConfig,
    root: Path,
    entry: Entry | None,
    array: Entry | None,
    known: dict[str, queue.Queued],
) -> Row:
    row = Row(stage, label, "missing")
    if config.is_complete(root):
        row = row._replace(job=entry.job_id if entry else "")
        try:
            sealing.unseal(config, root)
        except InputError as error:
            return row._replace(state="damaged", note=str(error))
        return row._replace(state="complete")
    progress, left = _progress(config, root)
    row = row._replace(progress=progress)
    jobs = [(e, job) for e in (array, entry) if e for job in e.jobs(known)]
    alive = [(e, job) for e, job in jobs if job.is_alive]
    running = [(e, job) for e, job in alive if job.state == "RUNNING"]
    if entry is not None:
        row = row._replace(job=entry.job_id, log=_last_log(entry, root))
    if running:
        first, job = running[0]
        row = row._replace(
            node=",".join(sorted({job.nodes for _, job in running})), log=_last_log(first, root)
        )
        return row._replace(state="running", job=first.job_id, left=left or job.left)
    if alive:
        first, job = alive[0]
        return row._replace(state="queued", job=first.job_id, note=job.reason)
    if (holder := locks.held_by(config.hash, root)) is not None:
        return row._replace(state="running", left=left, note=holder)
    if entry is None:
        return row
    ends = outcomes(root, entry.name)
    if ends and ends[-1].state == "failed":
        return row._replace(state="failed", node=ends[-1].node, note=ends[-1].message)
    state = jobs[-1][1].state if jobs else "no longer known to SLURM"
    return row._replace(
        state="failed", note=CANCELLED if state == "CANCELLED" else f"ended without a word: {state}"
    )


def _last_log(entry: Entry, root: Path) -> str:
    logs = [path for path in entry.logs(root) if path.suffix == ".err"]
    return str(logs[-1]) if logs else ""


def _progress(config: StageConfig, root: Path) -> tuple[str, str]:
    """Return a stage's progress and the time left, where its files say so."""
    if isinstance(config, TrainConfig):
        return _progress_of_training(config, root)
    if isinstance(config, PrepareConfig):
        shards = list((root / config.folder).glob("shards/*/*.json"))
        return f"{len(shards)} shards" if shards else "", ""
    if isinstance(config, EvaluateConfig) and (total := num_images(config.data, root, "val")):
        done = {path.stem for path in (root / config.folder).glob("chunks/*/*.safetensors")}
        images = sum(stop - start for start, stop in (map(int, name.split("-")) for name in done))
        return f"image {min(images, total)}/{total}", ""
    return "", ""


def _progress_of_training(config: TrainConfig, root: Path) -> tuple[str, str]:
    num_train = num_images(config.data, root, "train")
    rows = read_metrics(config, root, last=5)
    if not num_train or not rows:
        return "", ""
    total = schedule.total_steps(num_train, config.num_epochs, config.global_batch_size)
    step, epoch = rows[-1]["step"], rows[-1].get("epoch", 0.0)
    speed = next(
        (row["images_per_second"] for row in reversed(rows) if "images_per_second" in row), 0.0
    )
    left = _time((total - step) * config.global_batch_size / speed) if speed else ""
    return f"step {step}/{total}, epoch {epoch:.1f}", left


def _time(seconds: float) -> str:
    """Return hours, minutes and seconds.

    >>> _time(3725)
    '1:02:05'
    """
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as columns, with the path of the log below each failed stage."""
    heads = ("stage", "name", "state", "job", "node", "progress", "left", "note")
    cells = [heads, *(row[: len(heads)] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(heads))]
    lines = []
    for number, row in enumerate(cells):
        lines.append(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
        if number and rows[number - 1].state == "failed" and rows[number - 1].log:
            lines.append(f"    log: {rows[number - 1].log}")
    return "\n".join(lines)


def wait(study: Study, root: Path, seconds: float = 5.0) -> bool:
    """Print changes until no job of a study runs or waits any more.

    Return whether the study is complete.
    """
    printed: dict[tuple[str, str], Row] = {}
    problems = 0
    while True:
        try:
            rows, problems = status(study, root), 0
        except InputError:  # of a controller that restarts
            problems += 1
            if problems > PATIENCE:
                raise
            time.sleep(seconds)
            continue
        for row in rows:
            before = printed.get((row.stage, row.name))
            if before is None or (row.state, row.progress) != (before.state, before.progress):
                print(
                    "  ".join(
                        filter(
                            None, (row.stage, row.name, row.state, row.node, row.progress, row.note)
                        )
                    ),
                    flush=True,
                )
            printed[row.stage, row.name] = row
        if not any(row.state in ("running", "queued") for row in rows):
            return study.is_complete(root)
        time.sleep(seconds)
