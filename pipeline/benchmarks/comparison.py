"""What the rounds of `benchmark evaluate` say: each contender beside the others."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch

from pipeline.artefacts.measurements import Classification, CpuTime, Lead, Quartiles
from pipeline.benchmarks.contenders import CAREFUL_COMPILED, NAIVE, NAIVE_TUNED, Contender
from pipeline.benchmarks.peers import CROPS, Timing
from pipeline.benchmarks.turns import closest, quartiles, times_as_fast

Clock = Literal["wall", "cpu"]
Rounds = Sequence[Mapping[str, Timing]]
# peers that each contender is compared with
COMPARED = {
    "times_naive": NAIVE,
    "times_naive_tuned": NAIVE_TUNED,
    "times_careful_compiled": CAREFUL_COMPILED,
}


def classifications(
    contenders: Mapping[str, Contender],
    rounds: Rounds,
    peaks: Sequence[Mapping[str, float]],
    flop: int,
    device: str,
) -> dict[str, Classification]:
    """Return the figures of each contender.

    `peaks` are a convolution's by round, in FLOP/s; `flop` is the work of an image. The
    CPU time of a process says nothing on a GPU.
    """
    every = {}
    for name, contender in contenders.items():
        samples = [results[name] for results in rounds]
        dtype = torch.bfloat16 if contender.precision == "bf16" else torch.float32
        wall = _seconds(rounds, name, "wall")
        bounds = [s.bound / s.total.wall for s in samples if s.bound is not None]
        cpu = CpuTime(
            seconds=quartiles(_seconds(rounds, name, "cpu")), **_compared(rounds, name, "cpu")
        )
        every[name] = Classification(
            text=contender.text,
            batch=samples[0].batch,
            seconds=quartiles(wall),
            cpu=cpu if device == "cpu" else None,
            preprocessing_seconds=quartiles([s.preprocessing for s in samples]),
            images_per_second=quartiles([1 / seconds for seconds in wall]),
            crops_per_second=quartiles([CROPS / seconds for seconds in wall]),
            **_compared(rounds, name, "wall"),
            preprocessing_times_naive=times_as_fast(
                [s.preprocessing for s in samples], [r[NAIVE].preprocessing for r in rounds]
            ),
            preprocessing_share=quartiles([s.preprocessing / s.total.wall for s in samples]),
            share_of_peak=quartiles(
                [flop / s / p[str(dtype)] for s, p in zip(wall, peaks, strict=True)]
            ),
            largest_difference=max(
                float(np.abs(results[NAIVE].probabilities - results[name].probabilities).max())
                for results in rounds
            ),
            share_of_bound=quartiles(bounds) if bounds else None,
        )
    return every


def leads(contenders: Mapping[str, Contender], rounds: Rounds, device: str) -> dict[str, Lead]:
    """Return for each of ours how it stands beside the fastest peer of its precision:
    in CPU time, or on a GPU in time on the clock.
    """
    standings = {}
    clock: Clock = "cpu" if device == "cpu" else "wall"
    for name, contender in contenders.items():
        peers = {
            other: _seconds(rounds, other, clock)
            for other, peer in contenders.items()
            if peer.group != "ours" and peer.precision == contender.precision
        }
        if contender.group == "ours" and peers:
            peer = closest(_seconds(rounds, name, clock), peers)
            standings[name] = Lead(
                peer=peer,
                times=_times(rounds, name, peer, "wall"),
                cpu_times=_times(rounds, name, peer, "cpu") if device == "cpu" else None,
            )
    return standings


def _compared(rounds: Rounds, name: str, clock: Clock) -> dict[str, Quartiles]:
    """Return the ratios to each peer that took part, by the names of their fields."""
    return {
        field: _times(rounds, name, peer, clock)
        for field, peer in COMPARED.items()
        if peer in rounds[0]
    }


def _times(rounds: Rounds, name: str, peer: str, clock: Clock) -> Quartiles:
    return times_as_fast(_seconds(rounds, name, clock), _seconds(rounds, peer, clock))


def _seconds(rounds: Rounds, name: str, clock: Clock) -> list[float]:
    return [getattr(results[name].total, clock) for results in rounds]
