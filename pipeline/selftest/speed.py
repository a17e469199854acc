"""Benchmarks of the self-test: figures without a bound."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from pipeline.artefacts.selftest_facts import Figure
from pipeline.benchmarks.scaling import benchmark_scaling
from pipeline.benchmarks.scaling_ranks import measure_ranks
from pipeline.benchmarks.streams import measure
from pipeline.configs.benchmark import ScalingConfig
from pipeline.configs.selftest import SelftestConfig
from pipeline.runtime import disk
from pipeline.selftest.checks import Bench, Check

Launch = Callable[..., None]
BATCHES = {"cpu": (2, 4), "cuda": (64, 256)}  # ours: on a GPU, what its memory holds easily
# ours: seconds that each takes on an idle machine, with some room
SCALING_SECONDS = {"cpu": 60, "cuda": 60}
PEER_SECONDS = {"cpu": 420, "cuda": 150}  # five networks, of which three compile
STREAM_SECONDS = 30
SHARES = "shares.json"


def scaling(launch: Launch, root: Path, peers: bool, bench: Bench) -> Iterator[Figure]:
    """Measure a step, alone and on all ranks, or a step beside peers'."""
    config, device = bench.config, bench.config.device
    bench.needs(PEER_SECONDS[device] if peers else SCALING_SECONDS[device])
    chosen = scaling_config(config, peers)
    facts = benchmark_scaling(chosen, root, lambda n, folder: launch(measure_ranks, n, folder))
    if peers:
        for name, rate in facts.peers.items():
            yield Figure(what=f"{name}, images/s", value=rate[1])
        return
    for point in facts.points:
        words = f"{point.ranks} rank{'s' if point.ranks > 1 else ''} of {point.images} images"
        seconds = max(point.fed_seconds[1], point.seconds[1])
        yield Figure(
            what=f"training, {words}, images/s", value=point.ranks * point.images / point.seconds[1]
        )
        yield Figure(
            what=f"{words}, with its loader, images/s", value=point.ranks * point.images / seconds
        )
    best = max(point.images / point.seconds[1] for point in facts.points if point.ranks == 1)
    yield Figure(what=f"peak of a {facts.kind}, GFLOP/s", value=facts.peak_gflops)
    share = facts.gflop_per_image * best / facts.peak_gflops
    yield Figure(what="share of that peak in a step on one rank", value=share)
    yield Figure(what="network of an evaluation, crops/s a rank", value=facts.crops_per_second[1])


def scaling_config(config: SelftestConfig, peers: bool) -> ScalingConfig:
    """Return the benchmark of a step on one rank and on all, or beside peers on one."""
    batches = BATCHES[config.device]
    return ScalingConfig(
        input_size=config.input_size,
        width=1.0 if peers else config.width,  # peers have one width
        rounds=config.rounds,
        ranks=(1,) if peers else tuple(sorted({1, config.ranks})),
        batches=batches[:1] if peers else batches,
        peers=peers,
        num_images=config.num_images,
        path=config.path,
    )


def streams(launch: Launch, bench: Bench) -> Iterator[Figure]:
    """Measure what evaluation and validation leave of a stand-in device's rate."""
    bench.needs(STREAM_SECONDS)
    launch(measure_streams, 1, bench.folder)
    shares = TypeAdapter(dict[str, float]).validate_json((bench.folder / SHARES).read_bytes())
    for what, share in shares.items():
        yield Figure(what=f"{what}: share of the device's rate", value=share)


def measure_streams(folder: Path) -> None:
    """Measure the streams in a process of their own, and write the shares."""
    disk.write_json(folder / SHARES, {each.what: each.share for each in measure(rounds=1)})


def checks(launch: Launch, root: Path) -> tuple[Check, ...]:
    """Return the benchmarks; `launch` starts ranks."""
    return (
        Check(
            "scaling",
            "A training step on one rank and on all, in bf16, and an evaluation's network.",
            partial(scaling, launch, root, False),
        ),
        Check(
            "streams",
            "Evaluation and validation around a stand-in device of a fixed rate.",
            partial(streams, launch),
        ),
        Check(
            "peers",
            "A training step in bf16 beside torchvision's and timm's, compiled and not.",
            partial(scaling, launch, root, True),
        ),
    )
