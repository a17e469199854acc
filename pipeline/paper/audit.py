"""An audit: Table 1 is counted again, and other published arithmetic is checked."""

from typing import Any, NamedTuple

import torch
from torch import nn

from pipeline.paper.counting import Count, count_parts
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.published import TABLE1, TABLE3, TABLE3_VERSUS_BASE, Cell, PrintedRow

# rows of Table 1 -> submodules of the network
MODULES = {
    "conv1": ("conv1",),
    "pool1": ("pool1",),
    "conv2": ("conv2_reduce", "conv2"),
    "pool2": ("pool2",),
    "pool3": ("pools.3b",),
    "pool4": ("pools.4e",),
    "avg pool": ("head.0",),
    "linear": ("classifier",),
    **{
        name: (f"inceptions.{name}",)
        for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    },
}


class AuditRow(NamedTuple):
    """A row of Table 1, as it is printed and as we count it.

    `params_k` are in K = 1024 weights, `ops_m` in M = 10^6 multiply-adds.
    """

    name: str
    printed: PrintedRow
    counted: Count
    params_k: float
    ops_m: float
    agrees: bool
    note: str


class Example(NamedTuple):
    """A worked example: its subject, its formula, and two numbers.

    `stated` is the number in the source, `found` the number that we compute.
    """

    what: str
    formula: str
    stated: float
    found: float


def table1() -> tuple[AuditRow, ...]:
    """Return every row of Table 1, as it is printed and as we count it.

    A row agrees when both of its figures are within 1 of the count.
    """
    counts = count_parts(_on_meta(aux_heads=()))
    rows = []
    for printed in TABLE1:
        parts = [counts[name] for name in MODULES[printed.name]]
        weights, biases, macs = (
            sum(p.weights for p in parts),
            sum(p.biases for p in parts),
            sum(p.macs for p in parts),
        )
        channels, *spatial = parts[-1].output
        height, width = spatial or (1, 1)
        counted = Count((height, width, channels), weights, biases, macs)
        params_k, ops_m = weights / 1024, macs / 1e6
        agrees = counted.output == printed.output
        if printed.params is not None and printed.ops is not None:
            agrees = (
                agrees and abs(params_k - printed.params) <= 1 and abs(ops_m - printed.ops) <= 1
            )
        rows.append(AuditRow(printed.name, printed, counted, params_k, ops_m, agrees, printed.note))
    return tuple(rows)


def totals() -> tuple[Example, ...]:
    """Return figures of the whole network, beside those that the paper states.

    Ours follow from Table 1's filters.
    """
    main, both = _on_meta(aux_heads=()), _on_meta()
    parts = table1()
    macs = sum(row.counted.macs for row in parts)
    separable = count_parts(_on_meta(aux_heads=(), conv1="separable"))
    separable_macs = macs - parts[0].counted.macs + separable["conv1"].macs
    printed_k = round(sum(row.printed.params or 0 for row in parts), 1)
    return (
        Example(
            "parameters, main network",
            "weights and biases of Table 1's filters",
            6_998_552,
            _parameters(main),
        ),
        Example("parameters with both auxiliary heads", "section 5", 13_378_280, _parameters(both)),
        Example("sum of the printed params column, K", "Table 1", 6797.7, printed_k),
        Example(
            "sum of the printed ops column, M",
            "Table 1",
            1502,
            sum(row.printed.ops or 0 for row in parts),
        ),
        Example("multiply-adds, dense conv1", "section 1: a budget of 1.5 billion", 1.5e9, macs),
        Example(
            "multiply-adds, separable conv1",
            "section 1: a budget of 1.5 billion",
            1.5e9,
            separable_macs,
        ),
        Example(
            "separable conv1, weights",
            "7*7*3*8 + 24*64; Table 1 prints 2.7K",
            2.7 * 1024,
            separable["conv1"].weights,
        ),
        Example(
            "separable conv1, multiply-adds",
            "x 112 * 112; Table 1 prints 34M",
            34e6,
            separable["conv1"].macs,
        ),
        Example("5a with 928 input channels, K", "Table 1 prints 1072K", 1072, _five_a(928) / 1024),
        Example(
            "AlexNet's 60M parameters, times fewer",
            "section 1: 12 times",
            12,
            round(60e6 / _parameters(main), 1),
        ),
    )


def examples() -> tuple[Example, ...]:
    """Return worked examples that others give for this network (PAPER.md 1.6).

    They count weights only, without biases.
    """
    main = _parameters(_on_meta(aux_heads=()))
    naive_3a = count_parts(_on_meta(aux_heads=(), modules="naive"))["inceptions.3a"]
    behind = 256 * (64 + 64 + 64) + 256 * 128 + 64 * 192 * 9 + 64 * 96 * 25
    return (
        Example(
            "the well-known 6,994,392 parameters",
            "without conv2's 1x1 (64*64 + 64)",
            6_994_392,
            main - (64 * 64 + 64),
        ),
        Example("5x5 straight from 512 to 64 channels", "512*64*25", 819_200, 512 * 64 * 25),
        Example(
            "the same behind a 1x1 to 24 channels",
            "512*24 + 24*64*25",
            50_688,
            512 * 24 + 24 * 64 * 25,
        ),
        Example("3x3 straight from 512 to 64 channels", "512*64*9", 294_912, 512 * 64 * 9),
        Example(
            "the same behind a 1x1 to 24 channels",
            "512*24 + 24*64*9",
            26_112,
            512 * 24 + 24 * 64 * 9,
        ),
        Example(
            "naive 3b, 256 to 672 channels",
            "256*(128 + 192*9 + 96*25)",
            1_089_536,
            256 * (128 + 192 * 9 + 96 * 25),
        ),
        Example(
            "the same behind 1x1s to 64 channels, 480 out",
            "256*192 + 256*128 + 64*192*9 + 64*96*25",
            346_112,
            behind,
        ),
        Example("naive 3a, weights", "192*(64 + 128*9 + 32*25)", 387_072, naive_3a.weights),
        Example(
            "VGG-16's 138,357,544 parameters, times more",
            "138,357,544 / 6,998,552",
            19.8,
            round(138_357_544 / main, 1),
        ),
    )


def table3_differences() -> tuple[Example, ...]:
    """Return Table 3's last column, computed again.

    It has the differences to one model and one crop, in points.
    """
    base = TABLE3[Cell(1, 1)]
    return tuple(
        Example(
            f"{cell.models} model{'s' if cell.models != 1 else ''}, {cell.crops}"
            f" crop{'s' if cell.crops > 1 else ''}",
            f"{100 * TABLE3[cell]:.2f} - {100 * base:.2f}",
            printed,
            round(100 * (TABLE3[cell] - base), 2),
        )
        for cell, printed in TABLE3_VERSUS_BASE.items()
    )


def _on_meta(**options: Any) -> GoogLeNet:
    """Return a network that has only shapes, so no weights are drawn."""
    with torch.device("meta"):
        return GoogLeNet(**options)


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _five_a(in_channels: int) -> int:
    """Return the weights of 5a on another number of input channels."""
    return in_channels * (256 + 160 + 32 + 128) + 160 * 320 * 9 + 32 * 128 * 25
