"""The crops of section 7, for any image and under every rule that the paper leaves
open.
"""

from itertools import pairwise, product
from typing import get_args

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.configs import POLICIES
from pipeline.paper import crops, policies
from pipeline.paper.crops import Rules
from pipeline.paper.pooling import pool

sides = st.integers(1, 4000)
input_sizes = st.integers(32, 600)  # few are multiples of 14
kinds = st.sampled_from(sorted(policies.CROPS))
any_rules = st.builds(
    Rules,
    *(
        st.sampled_from(get_args(choices))
        for choices in (
            crops.LongSide,
            crops.Centre,
            crops.WholeSquare,
            crops.TenCrops,
            crops.Aspect,
        )
    ),
)


@given(kinds, sides, sides, input_sizes, any_rules)
@example("crops_144", 500, 375, 224, Rules())
@example("crops_144", 1, 20, 224, Rules())
@example("crops_144", 20, 1, 224, Rules(whole_square="original"))
@example("vgg_150", 1, 1, 224, Rules())
def test_crops_lie_inside(
    kind: str, width: int, height: int, input_size: int, rules: Rules
) -> None:
    """E1, E4: as many crops as the name says, in bounds; crop 2k + 1 is the mirror
    image of crop 2k.
    """
    boxes = policies.CROPS[kind](width, height, input_size, rules)
    assert len(boxes) == int(kind.rsplit("_", 1)[1]) == policies.NUM_CROPS[kind]
    for crop in boxes:
        scaled_width, scaled_height = crops.scaled_size(width, height, crop.scale, rules)
        assert min(scaled_width, scaled_height) == crop.scale
        assert 0 <= crop.left <= scaled_width - crop.side
        assert 0 <= crop.top <= scaled_height - crop.side
        assert crop.side in (input_size, crop.scale)
    if kind != "crops_1":
        assert all(
            odd == even._replace(mirrored=True)
            for even, odd in zip(boxes[::2], boxes[1::2], strict=True)
        )


@given(kinds, sides, sides, any_rules)
def test_portrait_is_landscape_transposed(kind: str, width: int, height: int, rules: Rules) -> None:
    portrait, landscape = (
        policies.CROPS[kind](*size, 224, rules) for size in ((height, width), (width, height))
    )
    assert {crop._replace(left=crop.top, top=crop.left) for crop in portrait} == set(landscape)


@given(sides, sides, input_sizes)
def test_policies_nest(width: int, height: int, input_size: int) -> None:
    sets = [set(policies.CROPS[name](width, height, input_size)) for name in policies.CURVE]
    assert all(smaller <= larger for smaller, larger in pairwise(sets))
    assert [len(boxes) for boxes in sets[:3]] == [1, 2, 10]


@given(sides)
def test_a_square_has_48_distinct_crops(side: int) -> None:
    """E2: each crop counts three times, so that it is enough to classify 48."""
    boxes = crops.crops_144(side, side)
    assert len(set(boxes)) == 48
    assert all(boxes.count(crop) == 3 for crop in set(boxes))


@given(sides, sides, st.sampled_from(crops.SCALES))
def test_rules_differ_by_a_pixel_at_most(width: int, height: int, scale: int) -> None:
    for long_side, centre in product(get_args(crops.LongSide), get_args(crops.Centre)):
        rules = Rules(long_side=long_side, centre=centre)
        ours, theirs = (crops.scaled_size(width, height, scale, r) for r in (Rules(), rules))
        assert all(0 <= b - a <= 1 for a, b in zip(ours, theirs, strict=True))
        ours_at, theirs_at = (crops.squares(width, height, scale, r) for r in (Rules(), rules))
        assert all(
            0 <= b - a <= 1
            for p, q in zip(ours_at, theirs_at, strict=True)
            for a, b in zip(p, q, strict=True)
        )


def test_rules_on_a_photograph() -> None:
    """PAPER 3.2: 500 x 375 at 256, 320 and 352; torchvision's functions agree where
    they are named.
    """
    sizes = {
        rule: [crops.scaled_size(500, 375, s, Rules(long_side=rule))[0] for s in (256, 320)]
        for rule in ("floor", "round", "ceil")
    }
    assert sizes == {"floor": [341, 426], "round": [341, 427], "ceil": [342, 427]}
    assert [
        crops.squares(500, 375, 352, Rules(centre=rule))[1][0] for rule in ("floor", "half_even")
    ] == [58, 58]
    assert [
        crops.squares(503, 375, 256, Rules(centre=rule))[1][0] for rule in ("floor", "half_even")
    ] == [43, 44]
    tens = crops.crops_10(500, 375, 224, Rules(ten_crops="whole_image"))[::2]
    assert [(crop.left, crop.top) for crop in tens] == [
        (58, 16),
        (0, 0),
        (117, 0),
        (0, 32),
        (117, 32),
    ]
    wholes = [
        crop
        for crop in crops.crops_144(500, 375, 224, Rules(whole_square="original"))
        if crop.side != 224
    ]
    assert {(crop.scale, crop.left, crop.top, crop.side) for crop in wholes} == {
        (375, x, 0, 375) for x in (0, 62, 125)
    }


def test_offsets_of_the_paper() -> None:
    """E3."""
    assert [crops.windows(scale, 224)[4][0] for scale in crops.SCALES] == [32, 64, 96, 128]
    assert [crops.windows(scale, 224)[0][0] for scale in crops.SCALES] == [16, 32, 48, 64]


probabilities = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).dirichlet(np.ones(5) / 4, 144).astype(np.float32)
)


@given(probabilities)
def test_pooling_ignores_the_order_of_crops(crops_NC: np.ndarray) -> None:
    """E5."""
    shuffled = np.random.default_rng(1).permutation(crops_NC)
    for pooling in get_args(policies.Pooling):
        pooled = pool(crops_NC, pooling)
        assert pooled.dtype == np.float32
        np.testing.assert_allclose(pooled, pool(shuffled, pooling), atol=1e-6)
        if pooling != "max":
            np.testing.assert_allclose(pooled.sum(), 1, atol=1e-5)


@given(probabilities)
def test_mean_of_logits_is_the_geometric_mean(crops_NC: np.ndarray) -> None:
    logits = np.log(np.maximum(crops_NC, np.finfo(np.float32).tiny)).astype(np.float64) + 7.0
    powers = np.exp(logits.mean(axis=0) - logits.mean(axis=0).max())
    np.testing.assert_allclose(pool(crops_NC, "geometric"), powers / powers.sum(), atol=1e-6)


def test_names() -> None:
    assert set(POLICIES) < set(policies.CURVE)
    for name in ("crops_5", "dense_max", "crops_144_median", "vgg"):
        with pytest.raises(
            ValueError,
            match=(
                r"of crops_1, crops_2, .*vgg_150, v3_12, dense, resnet_dense; all but dense and"
                " resnet_dense also with _max"
            ),
        ):
            policies.split_policy(name)


def test_the_familys_policies() -> None:
    """At 299 px, which is no multiple of 14, as at 224."""
    assert [crops.windows(scale, 299)[0][0] for scale in crops.scales(299)] == [21, 42, 64, 85]
    places = [(crop.left, crop.top, crop.side) for crop in crops.v3_12(500, 375, 299)[::2]]
    assert places == [
        (77, 21, 299),
        (56, 0, 299),
        (98, 0, 299),
        (56, 42, 299),
        (98, 42, 299),
        (56, 0, 341),
    ]
    assert "v3_12" not in policies.CURVE
    assert policies.WHOLE["resnet_dense"](224) == (224, 256, 384, 480, 640)
    for name in ("dense_max", "resnet_dense_max"):
        with pytest.raises(ValueError, match="no policy"):
            policies.split_policy(name)


@given(sides, sides, input_sizes)
def test_v3s_crops_are_one_square_of_the_papers(width: int, height: int, input_size: int) -> None:
    twelve = crops.v3_12(width, height, input_size)
    assert set(crops.crops_10(width, height, input_size)) < set(twelve)
    assert {crop.scale for crop in twelve} == {crops.scales(input_size)[0]}
