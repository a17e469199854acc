"""Every max pool of a training step, ours beside torch's: forward and gradient, from a
tiny network to the paper's.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.artefacts.measurements import Quartiles
from pipeline.benchmarks.turns import ask, quartiles, worker
from pipeline.models.operators import OperatorPool
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.layers import LocalResponseNorm, max_pool
from pipeline.runtime.environment import PROCESS_ENVIRONMENT

# ours: input size, width and images of a step, from a smoke test to the paper's network
NETWORKS = ((42, 0.1, 8), (56, 0.25, 64), (112, 0.5, 32), (224, 1.0, 16))
DTYPES = (torch.float32, torch.bfloat16)
TURN_SECONDS = 0.004  # ours: a turn lasts at least so long, as a pool may take 20 us


class Pool(NamedTuple):
    """A max pool of a network: its input's shape (N, C, H, W), its stride, its norm."""

    shape: tuple[int, ...]
    stride: int
    norm: str


class Ratio(NamedTuple):
    """Torch's time as a multiple of ours for a pool, forward and gradient, and our
    microseconds.
    """

    pool: Pool
    dtype: str
    times: Quartiles
    microseconds: float

    def __str__(self) -> str:
        n, c, h, w = self.pool.shape
        norm = "" if self.pool.norm == "none" else f"norm {self.pool.norm}"
        lower, median, upper = self.times
        return (
            f"{n:3} x {c:4} x {h:3} x {w:3}  stride {self.pool.stride}  {norm:10}  {self.dtype:8}"
            f"  {self.microseconds:9,.0f} us  {median:5.2f} ({lower:.2f} to {upper:.2f})"
        )


def measure(rounds: int, networks: tuple[tuple[int, float, int], ...] = NETWORKS) -> list[Ratio]:
    """Return the ratios of all pools, on one core, with the allocator of a training."""
    pools = dict.fromkeys(pool for network in networks for pool in pools_of(*network))
    with worker(partial(_measurement, list(pools), rounds), PROCESS_ENVIRONMENT) as process:
        ratios: list[Ratio] = ask(process, "pools", 0)
    return ratios


def text(ratios: list[Ratio]) -> Iterator[str]:
    """Yield a line for each pool, and the smallest ratio."""
    yield "input, torch's time as a multiple of ours (median of paired turns, quartiles)"
    yield from map(str, ratios)
    yield f"smallest: {min(ratio.times[1] for ratio in ratios):.2f}"


def pools_of(input_size: int, width: float, images: int) -> list[Pool]:
    """Return the max pools of a training step, each shape once."""
    pools: dict[Pool, None] = {}

    def note(norm: str, module: nn.MaxPool2d, inputs: tuple[Tensor, ...]) -> None:
        pools[Pool(tuple(inputs[0].shape), 2 if module.ceil_mode else 1, norm)] = None

    with torch.device("meta"):
        network = GoogLeNet(10, input_size=input_size, width=width, aux_heads=())
        for module in network.modules():
            if isinstance(module, nn.MaxPool2d):
                beside = {id(network.pool1): "last", id(network.pool2): "first"}
                module.register_forward_pre_hook(partial(note, beside.get(id(module), "none")))
        network(torch.empty(images, 3, input_size, input_size))
    return list(pools)


def _measurement(pools: list[Pool], rounds: int) -> Callable[[int], list[Ratio]]:
    return lambda _: [_ratio(pool, dtype, rounds) for pool in pools for dtype in DTYPES]


def contenders(pool: Pool) -> tuple[nn.Module, nn.Module]:
    """Return our pool, with its norm, and torch's beside our module of the norm."""
    layer, norm = max_pool(pool.stride), LocalResponseNorm(pool.shape[1])
    alpha = 0.0 if pool.norm == "none" else norm.alpha
    layers: list[nn.Module] = [layer]
    if pool.norm != "none":
        layers.insert(("first", "last").index(pool.norm), norm)
    torchs = nn.Sequential(*layers)
    return OperatorPool(layer, pool.stride, pool.norm, alpha), torchs  # type: ignore[arg-type]


def _ratio(pool: Pool, dtype: torch.dtype, rounds: int) -> Ratio:
    ours, torchs = contenders(pool)
    # as behind a ReLU
    x = torch.randn(pool.shape).clamp(min=0).to(dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    dy = torch.randn_like(ours(x))
    times = max(1, round(TURN_SECONDS / max(_seconds(torchs, x, dy, 2), 1e-6)))
    pairs = [
        (_seconds(torchs, x, dy, times), _seconds(ours, x, dy, times)) for _ in range(rounds + 1)
    ][1:]
    lower, median, upper = quartiles([theirs / own for theirs, own in pairs])
    own = quartiles([own for _, own in pairs])[1]
    name = str(dtype).removeprefix("torch.")
    return Ratio(pool, name, (lower, median, upper), 1e6 * own)


def _seconds(module: nn.Module, x: Tensor, dy: Tensor, times: int) -> float:
    """Return the processor's time of one forward pass and gradient."""
    started = time.thread_time()
    for _ in range(times):
        torch.autograd.backward(module(x), dy)
        x.grad = None
    return (time.thread_time() - started) / times
