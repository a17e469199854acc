"""Check a site from its own nodes, before it computes for days."""

import json
import os
import socket
import sys
import time
import uuid
from pathlib import Path
from typing import NamedTuple

from pipeline.artefacts.facts import Facts
from pipeline.errors import StageFailed
from pipeline.runtime import disk
from pipeline.runtime.private import private_folder
from pipeline.tracking.sync import is_reachable, server
from slurm.errand import carry_on_site
from slurm.parameters import safe
from slurm.site import Site

MEGABYTES, ROUNDS = 64, 5  # ours: the size and the number of the all-reduces
MAX_CLOCK_SECONDS = 5.0  # ours: between nodes; a larger gap makes logs hard to compare


class RankReport(Facts):
    """The report of one rank.

    It has the rank's clock just behind a barrier, the sum over all ranks, and how many
    ranks' files it sees.
    """

    rank: int
    world_size: int
    total: int
    node: str
    started: float
    clock: float
    gigabytes_per_second: float
    won: bool
    seen: int
    gpu: str | None
    python: str
    torch: str
    wandb: str | None


class Checked(NamedTuple):
    """The checks of a site by name, and the file that holds them with all reports."""

    checks: dict[str, "Check"]
    report: Path

    @property
    def is_sound(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks.values())

    def in_words(self) -> str:
        """Return the checks as lines for people."""
        lines = [
            f"{'ok  ' if check.passed else 'FAIL'}  {what}: {check.words}"
            for what, check in self.checks.items()
        ]
        return "\n".join([*lines, f"report: {self.report}"])

    def as_json(self) -> str:
        """Return an object: passed, checks (check, passed, words) and report."""
        checks = [{"check": what, **check._asdict()} for what, check in self.checks.items()]
        content = {"passed": self.is_sound, "checks": checks, "report": str(self.report)}
        return json.dumps(content, indent=1)


class Check(NamedTuple):
    """A check: whether it passed, and words for people."""

    passed: bool
    words: str


def check_site(site: Site, name: str, root: Path, nodes: int) -> Checked:
    """Submit the probe, wait for it, and write `root`/sites/<name>.json.

    Raises:
        StageFailed: a rank wrote no report; the message names the log.
    """
    root = safe(root.absolute())
    resources = site.train.but(nodes=nodes if site.cluster == "slurm" else 1, timeout_min=5)
    folder = private_folder(root / "jobs" / f"probe-{uuid.uuid4().hex[:8]}")
    submitted = time.time()
    log = carry_on_site("probe", folder, f"probe-{name}", resources, site, root)
    size = resources.nodes * resources.tasks_per_node
    ranks = [
        RankReport.load(path.read_bytes())
        for k in range(size)
        if (path := folder / f"rank_{k}.json").exists()
    ]
    if len(ranks) < size:
        raise StageFailed(f"probe: {len(ranks)} of {size} ranks left word; see {log}")
    checks = judge(ranks, submitted, wants_gpus=resources.num_gpus > 0)
    path = root / "sites" / f"{name}.json"
    disk.write_json(
        path,
        {
            "site": site.without_secrets().model_dump(mode="json"),
            "checks": checks,
            "ranks": [rank.plain() for rank in ranks],
        },
    )
    return Checked(checks, path)


def leave_word(folder: Path) -> None:
    """Check this rank, and write its report into a folder."""
    report = probe(folder)
    disk.write_json(folder / f"rank_{report.rank}.json", report.plain())


def probe(folder: Path) -> RankReport:
    """Check this rank's node and its connection to others, and return a report."""
    import torch

    from pipeline.runtime import process_group

    started = time.time()
    accelerator = process_group.join()
    rank, size, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    total = int(accelerator.reduce(torch.tensor(rank + 1, device=device), "sum"))
    values = torch.ones(MEGABYTES * 250_000, device=device)
    seconds = []
    for _ in range(ROUNDS):
        accelerator.wait_for_everyone()
        start = time.perf_counter()
        values = accelerator.reduce(values, "mean")
        float(values[0])  # waits for the device
        seconds.append(time.perf_counter() - start)
    clock = time.time()  # just behind a barrier
    won = _is_first(folder / "exclusive")
    disk.write_atomic(folder / f"seen_{rank}", str(rank).encode())
    accelerator.wait_for_everyone()
    deadline = time.monotonic() + 30
    while (seen := len(list(folder.glob("seen_*")))) < size and time.monotonic() < deadline:
        time.sleep(0.1)
    gpu = str(torch.cuda.get_device_properties(device).uuid) if device.type == "cuda" else None
    return RankReport(
        rank=rank,
        world_size=size,
        total=total,
        node=os.environ.get("SLURMD_NODENAME", socket.gethostname()),
        started=started,
        clock=clock,
        gigabytes_per_second=MEGABYTES / 1000 / min(seconds),
        won=won,
        seen=seen,
        gpu=gpu,
        python=sys.version.split()[0],
        torch=str(torch.__version__),
        wandb=_wandb_in_words() if rank == 0 else None,
    )


def judge(ranks: list[RankReport], submitted: float, wants_gpus: bool) -> dict[str, Check]:
    """Return the checks by name, from the ranks' reports."""
    size = len(ranks)
    gpus = {rank.gpu for rank in ranks} - {None}
    is_one_group = all(
        rank.world_size == size and rank.total == size * (size + 1) // 2 for rank in ranks
    )
    winners = sum(rank.won for rank in ranks)
    clocks = [rank.clock for rank in ranks]
    spread = max(clocks) - min(clocks)
    versions = sorted({f"Python {rank.python}, torch {rank.torch}" for rank in ranks})
    bandwidth = min(rank.gigabytes_per_second for rank in ranks)
    return {
        "launch": Check(
            True, f"{size} ranks on {', '.join(sorted({rank.node for rank in ranks}))}"
        ),
        "start": Check(
            True,
            f"{min(rank.started for rank in ranks) - submitted:.1f} s after submission",
        ),
        "rendezvous": Check(is_one_group, "all ranks in one sum"),
        "all-reduce": Check(True, f"{bandwidth:.2f} GB/s for {MEGABYTES} MB"),
        "GPUs": Check(
            len(gpus) == (size if wants_gpus else 0),
            f"{len(gpus)} for {size} ranks" if gpus or wants_gpus else "none",
        ),
        "shared disk": Check(
            all(rank.seen == size for rank in ranks),
            "each rank sees the files of all",
        ),
        "exclusive files": Check(winners == 1, f"{winners} of {size} could create one file"),
        "clocks": Check(spread < MAX_CLOCK_SECONDS, f"within {spread:.2f} s"),
        "Python": Check(len(versions) == 1, "; ".join(versions)),
        "W&B": Check(True, ranks[0].wandb or ""),
    }


def _is_first(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


def _wandb_in_words() -> str:
    """Return whether W&B's server answers, in words."""
    return (
        f"{server()} answers"
        if is_reachable()
        else f"{server()} does not answer; runs stay offline below the root"
    )
