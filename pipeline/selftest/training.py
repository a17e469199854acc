"""Checks of a training: 20 steps beside the CPU's, again, resumed, compiled."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

from pipeline.artefacts.selftest_facts import Figure
from pipeline.configs.network import NetworkConfig, Precision
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.selftest import SelftestConfig
from pipeline.configs.train import TrainConfig
from pipeline.runtime import process_group
from pipeline.selftest.checks import Bench, Check, NotRun, distance, plain_cpu
from pipeline.selftest.network import CLASSES, batch
from pipeline.selftest.states import num_differing, on_cpu
from pipeline.training.cadence import Step
from pipeline.training.learner import Learner
from pipeline.training.loader import Batch

STEPS, HALF, BATCHES = 20, 10, 4  # ours: the same batches come again, so that they are learnt
IMAGES = {"cpu": 8, "cuda": 16}  # ours: of a batch, that the CPU trains on in seconds
# ours: the loss falls; at 0.01 rounding ends ten times larger (measured)
RATE = 0.003
COMPILED_STEPS = 3  # ours: what is wrong in a step shows in the first ones
# ours: rounding grows a thousand times in 20 steps (measured on a CPU), and a GPU may
# begin with ten times as much; a wrong gradient shows in the first steps
EARLY_STEPS = 5
EARLY = 1e-4, "fp32's rounding, before it grows; a wrong gradient is off by more"
LOSSES = 2e-2, "fp32's rounding, which grew a thousand times in 20 steps on a CPU"
WAY = 0.1, "as the losses, of the way from the first weights to the last"
# ours: noise of the format's own steps in every gradient; what overflows is far beyond
NEAR_FP32 = {
    "bf16": (0.1, "noise of 2^-8 in 20 steps"),
    "fp16": (0.15, "noise of 2^-11, and the first steps, which the scaler may skip"),
    "tf32": (0.05, "noise of 2^-11 in 20 steps"),
}
REFERENCE = "reference.pt"  # what the CPU did
OFF = "largest relative difference of a loss"
REORDERED = "fp32; a compiler sums in another order"
SAME = "the same kernels in the same order"


class Record(NamedTuple):
    """What a training did: losses by step and output, weights, and the whole state."""

    losses: Tensor
    weights: dict[str, Tensor]
    state: dict[str, Any]


def training(config: SelftestConfig, dropout: bool) -> TrainConfig:
    """Return the training of the paper's network, with or without dropout."""
    shape: dict[str, Any] = {} if dropout else {"dropout": 0.0, "aux_dropout": 0.0}
    return TrainConfig(
        data=PrepareConfig(source="imagefolder", name="selftest"),
        network=NetworkConfig(input_size=config.input_size, width=config.width, **shape),
        num_epochs=1.0,
        global_batch_size=IMAGES[config.device],
        learning_rate=RATE,
        clip_norm=5.0,
        averaging_decay=0.9,
    )


def learner(
    bench: Bench, dropout: bool = False, compiled: bool = False, precision: Precision = "fp32"
) -> Learner:
    """Return a learner at its first step."""
    config = training(bench.config, dropout).but(compiled=compiled, precision=precision)
    return Learner(config, CLASSES, bench.ranks)


def batches(bench: Bench, rank: int = 0, world_size: int = 1) -> list[Batch]:
    """Return a rank's share of the batches that come again and again."""
    shares = []
    for seed in range(BATCHES):
        pixels, labels = batch(bench.config, IMAGES[bench.config.device], seed)
        pixels, labels = pixels[rank::world_size], labels[rank::world_size]
        shares.append(Batch(pixels, labels, torch.empty(len(labels), 0)))
    return shares


def take(learner: Learner, shares: Sequence[Batch], steps: range) -> Tensor:
    """Take steps, and return the losses: steps x outputs, on the CPU."""
    losses = [learner.step(Step(n, RATE), shares[n % len(shares)]) for n in steps]
    return torch.stack(losses).cpu()


def weights_of(learner: Learner) -> dict[str, Tensor]:
    """Return a copy of the weights, on the CPU."""
    return {
        name: value.detach().cpu().clone() for name, value in learner.network.named_parameters()
    }


def twenty_steps(bench: Bench, dropout: bool) -> Record:
    """Return 20 steps on the device; computed once."""
    name = f"twenty steps {dropout}"
    if name not in bench.kept:
        one = learner(bench, dropout)
        losses = take(one, batches(bench), range(1, STEPS + 1))
        bench.kept[name] = Record(losses, weights_of(one), on_cpu(one.state()))
    kept: Record = bench.kept[name]
    return kept


def reference(bench: Bench) -> Iterator[Figure]:
    """Take 20 steps on the CPU, for the comparison with the device."""
    with plain_cpu():
        plain = learner(bench)
        first = weights_of(plain)
        losses = take(plain, batches(bench), range(1, STEPS + 1))
    content = {"losses": losses, "first": first, "last": weights_of(plain)}
    torch.save(content, bench.folder / REFERENCE)
    starts, ends = losses[:BATCHES, 0].mean(), losses[-BATCHES:, 0].mean()
    yield Figure(
        what="last loss over the first",
        value=float(ends / starts),
        most=0.999,
        reason="else nothing was learnt, and a comparison with it says little",
    )


def beside_cpu(bench: Bench) -> Iterator[Figure]:
    """Compare the losses and the weights of 20 steps with the CPU's."""
    exact = torch.load(bench.folder / REFERENCE, weights_only=True)
    ours = twenty_steps(bench, dropout=False)
    for steps, (most, reason) in ((EARLY_STEPS, EARLY), (STEPS, LOSSES)):
        value = _off(ours.losses[:steps], exact["losses"][:steps])
        yield Figure(what=f"{OFF} in {steps} steps", value=value, most=most, reason=reason)
    yield Figure(
        what="difference of the last weights, of the way to them",
        value=distance(_less(ours.weights, exact["first"]), _less(exact["last"], exact["first"])),
        most=WAY[0],
        reason=WAY[1],
    )


def near_fp32(precision: Precision, bench: Bench) -> Iterator[Figure]:
    """Compare the losses of 20 steps at a precision with those in fp32."""
    if bench.device.type == "cpu" and precision in ("fp16", "tf32"):
        raise NotRun(f"{precision} needs a CUDA GPU")
    process_group.join(precision)
    other = learner(bench, precision=precision)
    losses = take(other, batches(bench), range(1, STEPS + 1))
    process_group.join("fp32")
    exact = twenty_steps(bench, dropout=False).losses
    yield Figure(
        what="mean relative difference of a loss",
        value=float(((losses - exact).abs() / exact.abs()).mean()),
        most=NEAR_FP32[precision][0],
        reason=NEAR_FP32[precision][1],
    )


def again(bench: Bench) -> Iterator[Figure]:
    """Compare the bits of two trainings, with dropout."""
    second = learner(bench, dropout=True)
    losses = take(second, batches(bench), range(1, STEPS + 1))
    yield _same("tensors that differ", twenty_steps(bench, dropout=True), losses, second)


def resume(bench: Bench) -> Iterator[Figure]:
    """Save after 10 steps, load into a new learner, and compare the last bits."""
    shares, path = batches(bench), bench.folder / "state.pt"
    first = learner(bench, dropout=True)
    losses = take(first, shares, range(1, HALF + 1))
    torch.save(first.state(), path)
    second = learner(bench, dropout=True)
    second.load(torch.load(path, map_location="cpu", weights_only=True))
    losses = torch.cat([losses, take(second, shares, range(HALF + 1, STEPS + 1))])
    yield _same("tensors that differ", twenty_steps(bench, dropout=True), losses, second)


def compile_step(bench: Bench) -> Iterator[Figure]:
    """Compare the first steps, compiled and eager."""
    bench.needs(180)  # ours: two minutes on an idle core
    shares, steps = batches(bench), range(1, COMPILED_STEPS + 1)
    eager, quick = learner(bench), learner(bench, compiled=True)
    first = weights_of(eager)
    value = _off(take(quick, shares, steps), take(eager, shares, steps))
    what = f"{OFF} in {COMPILED_STEPS} steps"
    yield Figure(what=what, value=value, most=EARLY[0], reason=REORDERED)
    yield Figure(
        what="difference of the last weights, of the way to them",
        value=distance(_less(weights_of(quick), first), _less(weights_of(eager), first)),
        most=1e-2,
        reason=REORDERED,
    )


def _same(what: str, kept: Record, losses: Tensor, other: Learner) -> Figure:
    value = num_differing((kept.losses, kept.state), (losses, other.state()))
    return Figure(what=what, value=float(value), most=0.0, reason=SAME)


def _off(losses: Tensor, exact: Tensor) -> float:
    return float(((losses - exact).abs() / exact.abs()).max())


def _less(values: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> list[Tensor]:
    return [values[name] - others[name] for name in values]


REFERENCE_CHECKS = (
    Check("20 steps on the CPU", "The reference: plain torch on several threads.", reference),
)
CHECKS = (
    Check("20 steps", "Losses and weights of 20 steps of training, beside the CPU's.", beside_cpu),
    Check("training again", "A second training of 20 steps, bit by bit, with dropout.", again),
    Check("resume", "10 steps, saved and loaded, and 10 more: the bits of 20 steps.", resume),
    *(
        Check(
            f"20 steps in {precision}",
            f"Losses of 20 steps in {precision}, beside those in fp32.",
            partial(near_fp32, precision),
        )
        for precision in get_args(Precision)[1:]
    ),
)
COMPILED_CHECKS = (
    Check(
        "compiled step", "Steps of training through torch.compile, beside eager ones.", compile_step
    ),
)
