"""Table 1 counted, and which of its figures are misprints."""

import json
from importlib import resources

from torch import nn

from pipeline.paper import audit
from pipeline.paper.counting import count_parts
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.inception import INCEPTIONS
from pipeline.paper.published import NEIGHBOURS, TABLE1, TABLE3, Cell
from pipeline.tools.audit import audit_json, audit_text, neighbours

# PAPER.md 1.2: weights, biases, multiply-adds
COUNTS = {
    "conv1": (9_408, 64, 118_013_952),
    "conv2": (114_688, 256, 359_661_568),
    "3a": (163_328, 368, 128_049_152),
    "3b": (388_096, 640, 304_267_264),
    "4a": (375_552, 624, 73_608_192),
    "4b": (448_512, 648, 87_908_352),
    "4c": (509_440, 664, 99_850_240),
    "4d": (604_672, 704, 118_515_712),
    "4e": (867_328, 1_024, 169_996_288),
    "5a": (1_042_432, 1_024, 51_079_168),
    "5b": (1_442_816, 1_264, 70_697_984),
    "linear": (1_024_000, 1_000, 1_024_000),
}


def test_the_kept_audit_is_what_is_counted() -> None:
    """The report shows pipeline/paper/audit.json, which `going-deeper audit --json`
    makes.
    """
    assert (
        resources.files("pipeline.paper").joinpath("audit.json").read_text() == f"{audit_json()}\n"
    )


def test_every_row() -> None:
    """A2, A5, A6, A7, A10."""
    rows = {row.name: row for row in audit.table1()}
    assert {name: rows[name].counted[1:] for name in COUNTS} == COUNTS
    assert all(row.counted.output == row.printed.output for row in rows.values())
    assert sum(row.counted.weights for row in rows.values()) == 6_990_272
    assert sum(row.counted.biases for row in rows.values()) == 8_280
    assert sum(row.counted.macs for row in rows.values()) == 1_582_671_872


def test_printed_figures() -> None:
    """A14, A15, A16: which rows agree, and that the others do not."""
    rows = {row.name: row for row in audit.table1() if row.printed.params is not None}
    ops_agree = {name for name, row in rows.items() if abs(row.ops_m - (row.printed.ops or 0)) <= 1}
    params_agree = {
        name for name, row in rows.items() if abs(row.params_k - (row.printed.params or 0)) <= 1
    }
    assert rows.keys() - ops_agree == {"conv1", "5a"}
    assert params_agree == {"conv2", "3a", "3b", "4b", "linear"}
    assert round(sum(row.params or 0 for row in TABLE1), 1) == 6797.7
    assert sum(row.ops or 0 for row in TABLE1) == 1502


def test_options_that_explain() -> None:
    """A8, A9, A20."""
    assert count_parts(GoogLeNet(aux_heads=()))[""].macs == 1_582_671_872
    separable = count_parts(GoogLeNet(aux_heads=(), conv1="separable"))["conv1"]
    assert (separable.weights, separable.macs) == (2_712, 34_019_328)
    assert {e.what: e.found for e in audit.totals()}[
        "multiply-adds, separable conv1"
    ] == 1_498_677_248
    naive = count_parts(GoogLeNet(aux_heads=(), modules="naive"))["inceptions.3a"]
    assert (naive.weights, naive.macs, naive.output[0]) == (387_072, 303_464_448, 416)


def test_examples() -> None:
    """A17, A21, A22, A25, E7: what is stated is what is found, except the misprint of
    Table 3.
    """
    assert [e.what for e in (*audit.examples(), *neighbours()) if e.stated != e.found] == []
    assert [(e.stated, e.found) for e in audit.table3_differences() if e.stated != e.found] == [
        (-3.45, -3.40)
    ]
    assert {"6,994,392", "346,112", "1,089,536", "50,688", "26,112"} <= {
        f"{e.stated:,}" for e in audit.examples()
    }


def test_depth() -> None:
    """A12, A13: 22 layers with parameters on the longest path, 27 with pools; widths of
    the nine concatenations.
    """
    network = GoogLeNet(aux_heads=())
    # a module's longest path has two convolutions: a reduction and what it reduces for
    convolutions = sum(
        isinstance(m, nn.Conv2d)
        for m in (network.conv1.conv, network.conv2_reduce.conv, network.conv2.conv)
    )
    parametered = (
        convolutions + 2 * len(network.inceptions) + isinstance(network.classifier, nn.Linear)
    )
    pools = [network.pool1, network.pool2, *network.pools.values(), network.get_submodule("head.0")]
    assert (parametered, parametered + len(pools)) == (22, 27)
    counted = {row.name: row.counted.output[2] for row in audit.table1()}
    widths = [n.n1x1 + n.n3x3 + n.n5x5 + n.pool_proj for n in INCEPTIONS.values()]
    assert (
        [counted[name] for name in INCEPTIONS]
        == widths
        == [256, 480, 512, 512, 512, 528, 832, 832, 1024]
    )


def test_what_is_shown() -> None:
    text = audit_text()
    assert "7 models, 144 crops                                      -3.45          -3.4" in text
    assert "928 input channels" in text
    assert json.loads(audit_json())["table1"][0]["weights"] == 9_408


def test_published_tables() -> None:
    assert (len(TABLE3), TABLE3[Cell(7, 144)]) == (6, 0.0667)
    # Table 2 has SuperVision's 15.3 %; the text prints 56.5
    assert round(100 * (1 - TABLE3[Cell(7, 144)] / 0.153), 1) == 56.4
    assert all(n.source and n.reason and 0 < n.tolerance < 0.1 for n in NEIGHBOURS)
