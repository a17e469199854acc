"""Errors, intervals and tests; the published numbers and their arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.paper.published import CLAIMS, TABLE3, Cell
from pipeline.statistics import inference, power
from pipeline.statistics.label_ranks import rank_of_label

# PAPER.md, section 4: wrong images of 50,000, Wilson's bounds in points
WILSON = {
    5035: (9.809, 10.337),
    4575: (8.900, 9.406),
    3945: (7.657, 8.130),
    4045: (7.854, 8.332),
    3335: (6.455, 6.892),
}


@pytest.mark.parametrize("errors", WILSON)
def test_wilson(errors: int) -> None:
    """E8."""
    assert [100 * bound for bound in inference.wilson(errors, 50_000)] == pytest.approx(
        WILSON[errors], abs=1e-3
    )


def test_images_to_decide() -> None:
    """E9: 7.89 % against 6.67 %, at a power of 50, 80 and 90 %."""
    counts = [power.images_to_decide(0.0789, 0.0667, chance) for chance in (0.5, 0.8, 0.9)]
    assert counts == pytest.approx([3485, 7118, 9529], abs=2)


def test_cost_is_models_times_crops() -> None:
    """E6."""
    costs = [int(cell.models) * cell.crops for cell in TABLE3]
    assert costs == [1, 10, 144, 7, 70, 1008]


@given(st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), min_size=1, max_size=20))
def test_rank_counts_ties_against_the_label(rows: list[list[int]]) -> None:
    scores = np.array(rows, np.float64)
    ranks = rank_of_label(scores, np.zeros(len(rows), np.int64))
    for row, rank in zip(rows, ranks, strict=True):
        assert rank == sum(score >= row[0] for score in row[1:])


def test_sign_flips_agree_with_mcnemar() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.random(400) < 0.30, rng.random(400) < 0.25
    exact = inference.mcnemar(before, after)
    assert inference.sign_flip(before.astype(float) - after) == pytest.approx(exact, abs=0.02)
    assert inference.mcnemar(after, after) == inference.sign_flip(np.zeros(5)) == 1.0


def test_gains_of_table3() -> None:
    """E7: the printed -3.45 of the last row is -3.40."""
    base = TABLE3[Cell(1, 1)]
    gains = [round(100 * (base - TABLE3[cell]), 2) for cell in list(TABLE3)[1:]]
    assert gains == [0.92, 2.18, 1.98, 2.45, 3.40]
    for claim in CLAIMS:
        if claim.kind == "gain" and claim.base:
            assert claim.published == pytest.approx(TABLE3[claim.base] - TABLE3[claim.cell])
        elif claim.kind == "error":
            assert claim.published == TABLE3[claim.cell]
        assert (claim.published is None) == (claim.tolerance is None) == (claim.reason is None)


def test_what_a_tolerance_cannot_tell_is_said() -> None:
    """For each published error the report names the other cells of Table 3 that would
    pass for it.
    """
    for claim in CLAIMS:
        if claim.kind == "error":
            assert claim.tolerance
            assert claim.reason
            for cell, error in TABLE3.items():
                passes = abs(error - TABLE3[claim.cell]) <= claim.tolerance
                is_named = f"({100 * error:.2f} %)" in claim.reason
                assert is_named == (passes and cell != claim.cell), (claim.id, cell)


def test_no_gain_passes_for_a_published_gain() -> None:
    """The whole gain of the ensemble at 144 crops does not pass either."""
    gains = [claim for claim in CLAIMS if claim.kind == "gain"]
    assert len(gains) == 7
    for claim in gains:
        assert claim.published
        assert claim.tolerance
        assert claim.tolerance < claim.published / 2
        assert claim.published + claim.tolerance < 0.0340


def test_nan_is_never_a_hit() -> None:
    assert rank_of_label(np.full((1, 7), np.nan), np.array([3])) == [6]
