"""The status of a study, from its artefacts, the notes in jobs/, and squeue.

It works without accounting, and without SLURM.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.artefacts import locks, sealing
from pipeline.configs.base import StageConfig
from pipeline.configs.study import Study
from pipeline.errors import InputError
from slurm import answers, queue, states
from slurm.ledger import Entry, conclusion, find, order_name, outcomes
from slurm.pace import pauses
from slurm.progress import progress
from slurm.table import Row

CANCELLED = "cancelled"
LONGEST_LINE = 200  # ours: of a log, in a table


def status(study: Study, root: Path, ended: dict[str, queue.Queued] | None = None) -> list[Row]:
    """Return the rows of a study's stages and of the job that concludes it.

    SLURM is asked once, about the jobs of what is not complete. Its accounting is asked
    about those that the queue forgot and that left no note; `ended` keeps its answers
    for the next call.

    Raises:
        InputError: jobs were submitted to SLURM, and its commands are missing.
    """
    configs = [config for config in study.stages if config.has_job]
    names = {config.hash: order_name(config) for config in configs} | {
        study.hash: conclusion(study)
    }
    everything = [*configs, study]
    entries = {c.hash: e for c in everything if (e := find(root, names[c.hash]))}
    parts = {c.hash: e for c in configs if (e := find(root, f"part-{c.hash}"))}
    missing = {c.hash for c in everything if not c.is_complete(root)}
    known = _known(
        [e for table in (entries, parts) for key, e in table.items() if key in missing],
        root,
        {} if ended is None else ended,
    )
    rows: dict[str, Row] = {}
    for config in configs:
        entry, array = entries.get(config.hash), parts.get(config.hash)
        row = _row(Row(config.stage, config.hash, "missing"), config, root, entry, array, known)
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
    last = Row("conclude", study.name, "missing")
    return [*rows.values(), _row(last, study, root, entries.get(study.hash), None, known)]


def _known(
    entries: Sequence[Entry], root: Path, ended: dict[str, queue.Queued]
) -> dict[str, queue.Queued]:
    """Return what SLURM knows of the jobs of orders, by id."""
    known = answers.queued(entries)
    lost = [
        entry
        for entry in entries
        if not entry.jobs(known) and entry.job_id not in ended and not outcomes(root, entry.name)
    ]
    # what accounting does not know is not asked again
    unknown = queue.Queued("", states.UNKNOWN, is_queued=False)
    ended |= {entry.job_id: unknown for entry in lost} | answers.ended(lost)
    return ended | known


def _row(
    row: Row,
    config: StageConfig,
    root: Path,
    entry: Entry | None,
    array: Entry | None,
    known: dict[str, queue.Queued],
) -> Row:
    use = _use(root, entry, array)
    if config.is_complete(root):
        row = row._replace(job=entry.job_id if entry else "", note=use, use=use)
        try:
            sealing.unseal(config, root)
        except InputError as error:
            return row._replace(state="damaged", note=str(error))
        return row._replace(state="complete")
    text, left = progress(config, root)
    row = row._replace(progress=text)
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
    return _end(row, root, entry, [job.state for _, job in jobs])


def _end(row: Row, root: Path, entry: Entry, states_of_jobs: Sequence[str]) -> Row:
    """Return the row of an order whose jobs ended without its artefact."""
    ends = outcomes(root, entry.name)
    if ends and ends[-1].state == "failed":
        return row._replace(
            state="failed",
            node=ends[-1].node,
            note=ends[-1].message,
            use=ends[-1].use.in_words() if ends[-1].use else "",
        )
    state = states_of_jobs[-1] if states_of_jobs else states.UNKNOWN
    if state == "CANCELLED":
        return row._replace(state="failed", note=CANCELLED)
    note = f"ended without a word: {states.in_words(state)}"
    if line := _last_line(row.log):
        note += f"; its log ends: {line}"
    return row._replace(state="failed", note=note)


def _use(root: Path, entry: Entry | None, array: Entry | None) -> str:
    """Return what the longest of an order's jobs used of what it had."""
    uses = [
        outcome.use
        for each in (entry, array)
        if each is not None
        for outcome in outcomes(root, each.name)
        if outcome.use is not None
    ]
    return max(uses, key=lambda use: use.seconds).in_words() if uses else ""


def _last_line(log: str) -> str:
    """Return the end of a log that has a text."""
    try:
        lines = Path(log).read_text(errors="replace").split("\n") if log else []
    except OSError:
        return ""
    return next((line.strip()[:LONGEST_LINE] for line in reversed(lines) if line.strip()), "")


def _last_log(entry: Entry, root: Path) -> str:
    logs = [path for path in entry.logs(root) if path.suffix == ".err"]
    return str(logs[-1]) if logs else ""


def wait(study: Study, root: Path, seconds: float | None = None) -> bool:
    """Print changes until no job of a study runs or waits any more.

    It looks again at once after a change, and then less and less often; with `seconds`,
    as often as that. Return whether the study is complete.
    """
    printed: dict[tuple[str, str], Row] = {}
    ended: dict[str, queue.Queued] = {}
    delays, problems = pauses(), 0
    while True:
        try:
            rows, problems = status(study, root, ended), 0
        except InputError:  # of a controller that restarts
            problems += 1
            if problems > queue.PATIENCE:
                raise
            rows = list(printed.values())
        if _print_changes(rows, printed):
            delays = pauses()
        if not problems and not any(row.state in ("running", "queued") for row in rows):
            return study.is_complete(root)
        time.sleep(next(delays) if seconds is None else seconds)


def _print_changes(rows: Sequence[Row], printed: dict[tuple[str, str], Row]) -> bool:
    """Print the rows that are not as they were `printed`.

    Return whether a state is new.
    """
    is_new = False
    for row in rows:
        before = printed.get((row.stage, row.name))
        is_new |= before is None or row.state != before.state
        if before is None or (row.state, row.progress) != (before.state, before.progress):
            words = (row.stage, row.name, row.state, row.node, row.progress, row.note)
            print("  ".join(filter(None, words)), flush=True)
        printed[row.stage, row.name] = row
    return is_new
