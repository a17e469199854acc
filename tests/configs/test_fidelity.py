"""Differences of a study's members from the paper's are refused or remarked upon."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.configs.crops import CropsConfig
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.fidelity import fidelity, weights_fidelity
from pipeline.configs.network import NetworkConfig, PixelConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.recipes import CAFFE_PIXELS, TABLE_1, paper, seven_members
from pipeline.paper.published import PublishedId

DATA = PrepareConfig(source="ilsvrc2012", name="ilsvrc2012")
RECIPE = paper(DATA)
OTHER_NETWORKS: dict[str, list[Any]] = {
    "norm": ["batch", "none"],
    "modules": ["naive"],
    "head": ["fully_connected"],
    "width": [4.0, 0.5, 1.25],
    "conv1": ["separable"],
    "aux_heads": [()],
    "fives": ["two_3x3"],
    "dropout": [0.5],
    "aux_dropout": [0.5],
    "input_size": [112],
}


def member(network: NetworkConfig = TABLE_1, **evaluation: Any) -> EvaluateConfig:
    return EvaluateConfig(data=DATA, classifier=RECIPE.but(network=network), **evaluation)


def test_the_papers_seven_are_the_papers() -> None:
    seven = [EvaluateConfig(data=DATA, classifier=run) for run in seven_members(RECIPE)]
    assert fidelity(seven) == ((), ())


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in OTHER_NETWORKS.items() for value in values],
)
def test_every_other_network_is_refused(field: str, value: Any) -> None:
    (refusal,) = fidelity([member(NetworkConfig.model_validate({field: value}))]).refusals
    expected = {"input_size": "at 112 px", "width": f"of width {value}".removesuffix(".0")}
    assert expected.get(field, f"{field}={value or 'none'}") in refusal


def test_every_field_of_the_network_is_tried() -> None:
    """A new field must be compared with the paper's too."""
    assert set(OTHER_NETWORKS) == set(NetworkConfig.model_fields)


def test_only_one_of_several_may_be_wider() -> None:
    wide = member(NetworkConfig(width=1.25))
    assert fidelity([member(), wide]).refusals == ()
    assert fidelity([member(), wide, wide.but(precision="bf16")]).refusals != ()


def test_weights_chosen_on_the_validation_images_are_refused() -> None:
    assert "chosen on these very images" in fidelity([member(weights="best")]).refusals[0]


def test_what_the_paper_leaves_open_is_remarked_upon() -> None:
    other = EvaluateConfig(
        data=DATA,
        classifier=RECIPE.but(global_batch_size=256, precision="bf16"),
        weights="raw",
        crops=CropsConfig(resize="torch_cubic"),
        compiled=True,
    )
    assert fidelity([other]) == (
        (),
        (
            "global_batch_size=256",
            "precision=bf16",
            "raw weights",
            "resize=torch_cubic",
            "evaluated compiled",
        ),
    )


def test_networks_of_others_are_named() -> None:
    foreign = ForeignConfig(
        arch="googlenet", weights=Path("w"), sha256="0" * 64, mean=(0, 0, 0), std=(1, 1, 1)
    )
    remarks = fidelity([EvaluateConfig(data=DATA, classifier=foreign)])
    named = ("a network trained elsewhere", "mean=0+0+0", "std=1+1+1")
    assert remarks == ((), named)
    other = foreign.but(arch="torchvision:googlenet", transform_input=True)
    assert fidelity([EvaluateConfig(data=DATA, classifier=other)]).refusals == (
        "measured torchvision:googlenet",
    )


@pytest.mark.parametrize(
    ("noted", "refusal"),
    [
        ({"network": NetworkConfig(norm="batch")}, "has a network with norm=batch"),
        ({"network": NetworkConfig(width=4)}, "has a network of width 4"),
        ({"are_best": True}, "measured weights that were chosen on these very images"),
    ],
)
def test_exports_are_what_their_notes_say(noted: dict[str, Any], refusal: str) -> None:
    """An export of another network is not the paper's, whoever measures it."""
    foreign = OWN.but(**noted)
    assert fidelity([EvaluateConfig(data=DATA, classifier=foreign)]).refusals == (refusal,)


OWN = ForeignConfig(arch="googlenet", weights=Path("w"), sha256="0" * 64, **dict(PixelConfig()))
CAFFES = OWN.but(**dict(CAFFE_PIXELS))
TORCHVISIONS = OWN.but(arch="torchvision:googlenet", transform_input=True)


@pytest.mark.parametrize(
    ("published", "classifier", "evaluation", "refusal"),
    [
        ("R7", TORCHVISIONS, {}, None),
        ("R8", CAFFES, {"crops": CropsConfig(aspect="warped")}, None),
        ("R8", CAFFES, {}, "aspect=kept"),
        ("R7", TORCHVISIONS, {"crops": CropsConfig(aspect="warped")}, "aspect=warped"),
        ("R7", TORCHVISIONS.but(transform_input=False), {}, "without transform_input"),
        ("R7", TORCHVISIONS.but(input_size=280), {}, "at 280 px"),
        ("R7", TORCHVISIONS.but(mean=(128, 128, 128)), {}, "mean=128+128+128"),
        ("R7", TORCHVISIONS.but(channel_order="bgr"), {}, "channel_order=bgr"),
        ("R7", OWN, {}, "measured googlenet"),
        ("R8", RECIPE, {}, "a run of ours"),
    ],
)
def test_published_weights_are_measured_as_their_makers_did(
    published: PublishedId, classifier: Any, evaluation: dict[str, Any], refusal: str | None
) -> None:
    member = EvaluateConfig(data=DATA, classifier=classifier, **evaluation)
    refusals, remarks = weights_fidelity([member.but(precision="bf16")], published)
    assert remarks == ("evaluated in bf16",)
    assert (refusal in "; ".join(refusals)) if refusal else refusals == ()
