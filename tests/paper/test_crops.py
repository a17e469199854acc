"""The 144 crops of section 7, for any image."""

from typing import get_args

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline import study
from pipeline.paper import crops

sides = st.integers(1, 4000)
input_sizes = st.sampled_from([32, 42, 112, 224, 227, 299])


@given(sides, sides, input_sizes)
@example(500, 375, 224)
@example(1, 20, 224)
def test_windows_lie_inside(width: int, height: int, input_size: int) -> None:
    """E1, E4: 144 crops in bounds; crop 2k + 1 is the mirror image of crop 2k."""
    found = crops.crops_144(width, height, input_size)
    assert len(found) == 144
    for crop in found:
        scaled_width, scaled_height = crops.scaled_size(width, height, crop.scale)
        assert min(scaled_width, scaled_height) == crop.scale
        assert 0 <= crop.left <= scaled_width - crop.side
        assert 0 <= crop.top <= scaled_height - crop.side
        assert crop.side in (input_size, crop.scale)
    assert all(odd == even._replace(mirrored=True) for even, odd in zip(found[::2], found[1::2], strict=True))


@given(sides, sides)
def test_portrait_is_landscape_transposed(width: int, height: int) -> None:
    turned = {crop._replace(left=crop.top, top=crop.left) for crop in crops.crops_144(height, width)}
    assert turned == set(crops.crops_144(width, height))


@given(sides, sides, input_sizes)
def test_policies_nest(width: int, height: int, input_size: int) -> None:
    one, ten, all_crops = (set(crops.POLICIES[name](width, height, input_size)) for name in crops.POLICIES)
    assert one < ten < all_crops
    assert (len(one), len(ten)) == (1, 10)


@given(sides)
def test_a_square_has_48_distinct_crops(side: int) -> None:
    """E2."""
    assert len(set(crops.crops_144(side, side))) == 48


def test_offsets_of_the_paper() -> None:
    """E3."""
    assert [crops.windows(scale, 224)[4][0] for scale in crops.SCALES] == [32, 64, 96, 128]
    assert [crops.windows(scale, 224)[0][0] for scale in crops.SCALES] == [16, 32, 48, 64]


def test_names_agree() -> None:
    assert tuple(crops.POLICIES) == study.POLICIES == get_args(study.Policy) == tuple(crops.NUM_CROPS)
    assert [len(policy(500, 375)) for policy in crops.POLICIES.values()] == list(crops.NUM_CROPS.values())
