"""The published errors of GoogLeNet's successors, and weights that can show them."""

from pathlib import Path

import pytest

from pipeline.configs.crops import CropsConfig
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.fidelity import PUBLISHED, family_fidelity, weights_fidelity
from pipeline.configs.network import PixelConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.models.usual import usual
from pipeline.paper.family import NUMBERS, WEIGHTS, Weights, weights_of
from pipeline.paper.policies import KINDS
from pipeline.paper.published import CLAIMS


def test_every_number_has_its_source_and_an_id_of_its_own() -> None:
    ids = [number.id for number in NUMBERS]
    assert len(set(ids)) == len(ids) == 34
    assert not {claim.id for claim in CLAIMS} & set(ids)
    assert set(ids) == {f"R{k}" for k in range(20, 52)} | {"R7", "R8"}
    for number in NUMBERS:
        assert number.source
        assert number.copies
        assert number.reason
        assert number.policy in KINDS
        assert 0 < number.top5_error < number.top1_error < 1
        assert 0 < number.top5_tolerance <= number.tolerance <= 0.025
        weights = weights_of(number.weights)
        assert (weights is None) == bool(number.lacks)
        copies = " ".join(number.copies)
        # another table than the two of GoogLeNet, which stand in published.toml
        assert number.source.startswith("arXiv") == ("stored cop" in copies)


def test_golden_numbers() -> None:
    """As the papers print them, in per cent."""
    printed = {n.id: (n.network, n.policy, n.top1_error, n.top5_error, n.split) for n in NUMBERS}
    assert printed["R25"] == ("Inception-v3", "crops_144", 0.1877, 0.042, "not_blacklisted")
    assert printed["R34"] == ("Inception-v4", "v3_12", 0.187, 0.042, "val")
    assert printed["R38"] == ("Inception-ResNet-v2", "crops_144", 0.178, 0.037, "val")
    assert printed["R44"] == ("ResNet-152", "crops_10", 0.2143, 0.0571, "val")
    assert printed["R47"] == ("ResNet-152", "resnet_dense", 0.1938, 0.0449, "val")
    assert printed["R8"] == ("BVLC Caffe bvlc_googlenet", "crops_1", 0.313, 0.111, "val")


@pytest.mark.parametrize("own", WEIGHTS, ids=lambda own: own.name)
def test_pixels_enter_as_their_owners_say(own: Weights) -> None:
    """timm's and torchvision's own configurations; Caffe's prototxt. Nobody is refused
    who takes them from there.
    """
    name = Path("bvlc_googlenet.caffemodel") if own.arch == "googlenet" else None
    theirs = usual(own.arch, name, "1378be20" + 56 * "0" if "torchvision" in own.arch else None)
    assert theirs is not None
    mean, std, order = theirs.preprocessing
    assert (*mean, *std) == pytest.approx((*own.mean, *own.std))
    foreign = ForeignConfig(
        arch=own.arch,
        weights=Path(own.file),
        sha256="0" * 64,
        input_size=theirs.input_size,
        mean=mean,
        std=std,
        channel_order=order,
        transform_input=own.transform_input,
    )
    crops = CropsConfig(resize=theirs.resize, aspect=theirs.aspect)
    data = PrepareConfig(source="digits", name="digits")
    member = EvaluateConfig(data=data, classifier=foreign, crops=crops)
    assert family_fidelity(member, own) == ((), ())
    if own.arch == "torchvision:googlenet":
        assert weights_fidelity([member], "R7") == ((), ())
    assert (theirs.input_size, theirs.resize, theirs.aspect) == (
        own.input_size,
        own.resize,
        own.aspect,
    )


def test_the_two_googlenets_are_those_of_r7_and_r8() -> None:
    for published, form in PUBLISHED.items():
        number = next(number for number in NUMBERS if number.id == published)
        weights = weights_of(number.weights)
        assert weights is not None
        pixels = PixelConfig(
            mean=weights.mean, std=weights.std, channel_order=weights.channel_order
        )
        assert (form.arch, form.pixels, form.aspect, form.input_size) == (
            weights.arch,
            pixels,
            weights.aspect,
            weights.input_size,
        )
