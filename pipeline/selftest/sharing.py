"""Checks of ranks: what they sum, and whether they train as one."""

import hashlib
from collections.abc import Iterator

import torch
from accelerate.utils import gather_object
from torch import distributed

from pipeline.artefacts.selftest_facts import Figure
from pipeline.selftest.checks import Bench, Check, NotRun, distance
from pipeline.selftest.training import IMAGES, RATE, batches, learner, take, weights_of

STEPS = 5  # ours: seconds
ALONE = "alone.pt"  # the weights of one rank
VALUES = 1_000_003  # ours: of a sum; not a whole number of packets
NEAR = 1e-2, "the ranks sum in another order; wrong shares are off by more"


def join_alone(bench: Bench) -> None:
    """Make the ranks of one process a group too, so that its library is loaded."""
    if not distributed.is_initialized():
        backend = "nccl" if bench.device.type == "cuda" else "gloo"
        distributed.init_process_group(backend, world_size=1, rank=0)


def sums(bench: Bench) -> Iterator[Figure]:
    """Sum a vector over the ranks, in fp32."""
    join_alone(bench)
    rank, size = bench.ranks.process_index, bench.ranks.num_processes
    vector = torch.arange(VALUES, device=bench.device, dtype=torch.float32) % 1000
    expected = vector * (size * (size + 1) // 2)
    total = vector * (rank + 1)
    distributed.all_reduce(total)
    wrong = torch.tensor([int((total != expected).sum())], device=bench.device)
    distributed.all_reduce(wrong)
    backend = distributed.get_backend()
    what = f"wrong values, of {VALUES:,} over {backend} on {size} rank{'s' if size > 1 else ''}"
    yield Figure(what=what, value=float(wrong), most=0.0, reason="whole numbers sum exactly")


def alone(bench: Bench) -> Iterator[Figure]:
    """Train on one rank, for the comparison with several."""
    one = learner(bench)
    losses = take(one, batches(bench), range(1, STEPS + 1))
    torch.save(weights_of(one), bench.folder / ALONE)
    yield Figure(
        what="losses that are not finite",
        value=float((~losses.isfinite()).sum()),
        most=0.0,
        reason="a training has them",
    )


def equal(bench: Bench) -> Iterator[Figure]:
    """Train on all ranks, and compare their weights with each other and one rank's."""
    size = bench.ranks.num_processes
    if size == 1:
        raise NotRun("there is one rank")
    if IMAGES[bench.config.device] % size:
        raise NotRun(f"{size} ranks cannot share {IMAGES[bench.config.device]} images equally")
    one = learner(bench)
    first = weights_of(one)
    take(one, batches(bench, bench.ranks.process_index, size), range(1, STEPS + 1))
    weights = weights_of(one)
    digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in weights.values()))
    digests = set(gather_object([digest.hexdigest()]))
    yield Figure(
        what=f"ranks with other weights than the first, of {size}",
        value=float(len(digests) - 1),
        most=0.0,
        reason="all take the same sum",
    )
    single = torch.load(bench.folder / ALONE, weights_only=True)
    yield Figure(
        what="difference from one rank's weights, of the way to them",
        value=distance(
            [weights[name] - first[name] for name in single],
            [single[name] - first[name] for name in single],
        ),
        most=NEAR[0],
        reason=NEAR[1],
    )


ALONE_CHECKS = (Check("one rank", f"{STEPS} steps of training at {RATE} on one rank.", alone),)
CHECKS = (
    Check("sum over ranks", "A sum over all ranks, over NCCL on GPUs and gloo on CPUs.", sums),
    Check("equal ranks", f"Weights after {STEPS} steps on all ranks, and on one.", equal),
)
