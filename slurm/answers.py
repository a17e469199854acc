"""What SLURM knows of submitted orders: one question to each cluster that took some."""

from collections.abc import Iterator, Sequence

from slurm import queue
from slurm.ledger import Entry


def queued(entries: Sequence[Entry]) -> dict[str, queue.Queued]:
    """Return what the queues know of the jobs of orders, by id.

    Raises:
        InputError: SLURM's commands are missing, or do not answer.
    """
    known: dict[str, queue.Queued] = {}
    for cluster, job_ids in _by_cluster(entries):
        known |= queue.jobs(job_ids, cluster)
    return known


def ended(entries: Sequence[Entry]) -> dict[str, queue.Queued]:
    """Return what accounting knows of the jobs of orders, if there is any."""
    known: dict[str, queue.Queued] = {}
    for cluster, job_ids in _by_cluster(entries):
        known |= queue.ended(job_ids, cluster)
    return known


def cancel(entries: Sequence[Entry]) -> list[str]:
    """End the jobs of orders, the last first, and return their ids.

    So no job starts because another has ended.
    """
    cancelled: list[str] = []
    for cluster, job_ids in _by_cluster(entries):
        last_first = sorted(set(job_ids), key=int, reverse=True)
        queue.cancel(last_first, cluster)
        cancelled += last_first
    return cancelled


def _by_cluster(entries: Sequence[Entry]) -> Iterator[tuple[str, list[str]]]:
    submitted = [entry for entry in entries if entry.cluster == "slurm"]
    for cluster in sorted({entry.on for entry in submitted}):
        yield cluster, [entry.job_id for entry in submitted if entry.on == cluster]
