"""Checks of the network: outputs, losses and gradients beside the CPU's in float64, and
each precision beside fp32.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from pipeline.artefacts.selftest_facts import Figure
from pipeline.configs.network import PixelConfig, Precision
from pipeline.configs.selftest import SelftestConfig
from pipeline.models.fast_network import autocast
from pipeline.models.operators import use_operators
from pipeline.paper.googlenet import GoogLeNet, Logits, normalise, output_losses, training_loss
from pipeline.paper.initialisation import INITIALISATIONS
from pipeline.runtime import process_group
from pipeline.selftest.checks import Bench, Check, NotRun, distance, plain_cpu, relative

CLASSES = 1000
IMAGES = 4  # ours: the CPU computes them in float64 in seconds
# ours: 22 layers of sums of some thousand products round to about 1e-6 in fp32; a GPU's
# fast convolutions to ten times that. A wrong kernel is off by 1e-2 and more.
FP32 = 1e-4, "fp32 rounds sums of 22 layers to some 1e-6, fast convolutions to 1e-5"
# ours: rounding may turn a ReLU or the winner of a pool, which moves a gradient by an
# image's share of it
GRADIENT = 1e-3, "fp32, where rounding may turn a ReLU or a pool's winner"
# ours: the formats' own steps, 2**-8 for bf16 and 2**-11 for the others, through 22
# layers whose errors add up as the root of their number
BOUNDS = {
    "bf16": (5e-2, "steps of 2^-8 in 22 layers"),
    "fp16": (1e-2, "steps of 2^-11 in 22 layers"),
    "tf32": (1e-2, "steps of 2^-11 in 22 layers"),
}
GRADIENT_BOUNDS = {
    "bf16": (0.3, "steps of 2^-8, forward and back, and turned ReLUs"),
    "fp16": (0.1, "steps of 2^-11, forward and back, and turned ReLUs"),
    "tf32": (0.1, "steps of 2^-11, forward and back, and turned ReLUs"),
}


class Values(NamedTuple):
    """What a network computes of a batch: outputs and losses by output, gradients by
    parameter.
    """

    outputs: dict[str, Tensor]
    losses: Tensor
    gradients: dict[str, Tensor]


def googlenet(config: SelftestConfig, heads: bool = True) -> GoogLeNet:
    """Return the paper's network without dropout, drawn from a seed, on the CPU."""
    network = GoogLeNet(
        CLASSES,
        input_size=config.input_size,
        width=config.width,
        aux_heads=("4a", "4d") if heads else (),
        dropout=0.0,
        aux_dropout=0.0,
    )
    INITIALISATIONS["kaiming"](network, torch.Generator().manual_seed(0))
    return network


def batch(config: SelftestConfig, images: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return random pixels (N x side x side x 3, bytes) and labels, from a seed."""
    generator = torch.Generator().manual_seed(seed)
    shape = (images, config.input_size, config.input_size, 3)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    return pixels, torch.randint(0, CLASSES, (images,), generator=generator)


def compute(
    config: SelftestConfig, device: torch.device, precision: str, dtype: torch.dtype
) -> Values:
    """Compute outputs, losses and gradients of the training's network on a device."""
    network = googlenet(config).train().to(device, dtype).to(memory_format=torch.channels_last)
    use_operators(network, device)
    pixels, labels = (each.to(device) for each in batch(config, IMAGES))
    with autocast(device, precision):
        logits: Logits = network(normalise(pixels, PixelConfig().preprocessing).to(dtype))
    outputs = dict(zip(("main", "head 4a", "head 4d"), (logits.main, *logits.aux), strict=True))
    if dtype == torch.float64:  # the product's losses are float32
        each = [torch.nn.functional.cross_entropy(out, labels) for out in outputs.values()]
        losses = torch.stack(each)
    else:
        losses = output_losses(logits, labels)
    scale = 2.0**10 if precision == "fp16" else 1.0  # ours: small gradients would vanish
    (training_loss(losses) * scale).backward()
    gradients = {
        name: weight.grad.double().cpu() / scale
        for name, weight in network.named_parameters()
        if weight.grad is not None
    }
    return Values({k: v.detach().cpu() for k, v in outputs.items()}, losses.detach(), gradients)


def values_of(bench: Bench, name: str) -> Values:
    """Return what the `cpu` in float64 computes, or the device at a precision."""
    if name not in bench.kept:
        if name == "cpu":
            with plain_cpu() as cpu:
                bench.kept[name] = compute(bench.config, cpu, "fp32", torch.float64)
        else:
            process_group.join(name)
            bench.kept[name] = compute(bench.config, bench.device, name, torch.float32)
            process_group.join("fp32")
    value: Values = bench.kept[name]
    return value


def outputs(bench: Bench) -> Iterator[Figure]:
    """Compare the logits of the network and of both heads."""
    ours, exact = values_of(bench, "fp32"), values_of(bench, "cpu")
    for name, values in exact.outputs.items():
        what = f"{name}: largest difference over the largest logit"
        yield _figure(what, relative(ours.outputs[name], values), FP32)


def losses(bench: Bench) -> Iterator[Figure]:
    """Compare the losses of the three outputs."""
    ours, exact = values_of(bench, "fp32"), values_of(bench, "cpu")
    yield _figure("largest difference over the loss", relative(ours.losses, exact.losses), FP32)


def gradients(bench: Bench) -> Iterator[Figure]:
    """Compare the gradient of every parameter."""
    ours, exact = values_of(bench, "fp32").gradients, values_of(bench, "cpu").gradients
    yield Figure(
        what="parameters without a gradient",
        value=float(len(exact.keys() ^ ours.keys())),
        most=0.0,
        reason="each has one",
    )
    worst = max(exact, key=lambda name: distance([ours[name]], [exact[name]]))
    value = distance([ours[worst]], [exact[worst]])
    yield _figure(f"largest relative difference, of {worst}", value, GRADIENT)


def near_fp32(precision: str, bench: Bench) -> Iterator[Figure]:
    """Compare the outputs and the gradient at a precision with those in fp32."""
    if bench.device.type == "cpu" and precision in ("fp16", "tf32"):
        raise NotRun(f"{precision} needs a CUDA GPU")
    other, exact = values_of(bench, precision), values_of(bench, "fp32")
    # ours: equal bits would say that the precision had no effect
    same = all(torch.equal(other.outputs[k], exact.outputs[k]) for k in exact.outputs)
    yield Figure(
        what="outputs equal fp32's", value=float(same), most=0.0, reason="it has an effect"
    )
    for name, values in exact.outputs.items():
        what = f"{name}: relative length of the difference"
        yield _figure(what, distance([other.outputs[name]], [values]), BOUNDS[precision])
    value = distance(other.gradients.values(), exact.gradients.values())
    yield _figure("relative length of the gradient's", value, GRADIENT_BOUNDS[precision])


def _figure(what: str, value: float, bound: tuple[float, str]) -> Figure:
    return Figure(what=what, value=value, most=bound[0], reason=bound[1])


def _precisions() -> Iterator[Check]:
    for precision in get_args(Precision)[1:]:
        text = f"Outputs and gradient in {precision}, beside fp32 on the same device."
        measure: Callable[[Bench], Iterator[Figure]] = partial(near_fp32, precision)
        yield Check(f"{precision} near fp32", text, measure)


CHECKS = (
    Check("outputs", "Logits of GoogLeNet and both heads, beside the CPU in float64.", outputs),
    Check("losses", "Cross entropy of the three outputs, beside the CPU in float64.", losses),
    Check("gradients", "Every parameter's gradient, beside the CPU in float64.", gradients),
    *_precisions(),
)
