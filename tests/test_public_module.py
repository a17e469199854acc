"""`import going_deeper`: what other people's Python may rely on."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import going_deeper as gd
from pipeline.artefacts.predictions import Predictions
from pipeline.configs.crops import CropsConfig
from pipeline.configs.network import NetworkConfig, WeightsNote
from tests.commands import Finished

SIGNATURES = {
    "crops": ["image", "policy", "input_size", "rules"],
    "evaluate": [
        "classifier",
        "folder",
        "policies",
        "classes",
        "mean",
        "std",
        "input_size",
        "rules",
        "precision",
        "device",
        "root",
    ],
    "load": ["weights"],
    "load_run": ["folder", "weights"],
    "load_study": ["path", "arguments", "settings"],
    "results": ["study", "root"],
    "run": ["study", "root", "processes"],
    "verdicts": ["study", "root"],
}


def test_names_and_arguments_are_stable() -> None:
    """A change here is a change for other people: it needs a line in CHANGELOG.md."""
    functions = {name: getattr(gd, name) for name in gd.__all__}
    found = {
        name: list(inspect.signature(each).parameters)
        for name, each in functions.items()
        if inspect.isfunction(each)
    }
    assert found == SIGNATURES
    assert all(each.__doc__ for each in functions.values())
    assert [*gd.Evaluation._fields] == ["errors", "images"]


@pytest.mark.parametrize("policy", ["crops_1", "crops_10", "crops_144", "vgg_150"])
def test_crops_are_pixels_of_the_image(policy: str) -> None:
    """At the smallest scale and its own size, a crop is a window of the image."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (128, 150, 3), np.uint8)
    found = gd.crops(pixels, policy, input_size=112)
    assert found.shape == (int(policy.split("_")[1]), 112, 112, 3)
    if policy == "crops_1":
        assert np.array_equal(found[0], pixels[8:120, 19:131])
    if policy == "crops_10":
        assert any(np.array_equal(crop, pixels[8:120, 19:131][:, ::-1]) for crop in found)
    assert np.array_equal(found, gd.crops(Image.fromarray(pixels), policy, 112, CropsConfig()))


def test_wrong_input_is_one_line() -> None:
    with pytest.raises(gd.InputError, match="policy crops_3: expected one of crops_1, "):
        gd.crops(Image.new("RGB", (9, 9)), "crops_3")
    with pytest.raises(gd.InputError, match=r"an array of \(9, 9\), float64; expected height"):
        gd.crops(np.zeros((9, 9)))


def test_a_folder_is_measured_as_the_command_does(finished: Finished) -> None:
    """The same ranks as a study's evaluation of the same run, image by image."""
    study = gd.load_study(finished.experiment, ["--data", str(finished.data)])
    member = study.check.results[0].members[0]
    classifier = gd.load_run(finished.root / member.classifier.folder)  # type: ignore[union-attr]
    measured = gd.evaluate(classifier, finished.data / "val")
    predictions = Predictions(member, finished.root)
    order = measured.images.set_index("image_id")
    names = list(predictions.hits("image_id"))
    for policy in ("crops_1", "crops_144"):
        assert order.loc[names, policy].tolist() == predictions.ranks(policy).tolist()
        row = measured.errors.set_index("policy").loc[policy].to_dict()
        assert row["top1_error"] == (predictions.ranks(policy) >= 1).mean()
        assert row["top1_low"] <= row["top1_error"] <= row["top1_high"]


def test_any_function_is_a_classifier(finished: Finished) -> None:
    def reddest(images: torch.Tensor) -> torch.Tensor:
        red, green, blue = images.mean((2, 3)).unbind(1)
        return torch.stack([blue, green, red], 1)

    measured = gd.evaluate(reddest, finished.data / "val", ["crops_1"], input_size=42)
    assert measured.errors.top1_error.tolist() == [0.0]
    assert measured.images.label.tolist() == ["blue"] * 5 + ["green"] * 5 + ["red"] * 5


def test_files_of_ours_come_back(tmp_path: Path) -> None:
    shape = NetworkConfig(input_size=42, width=0.125, aux_heads=("4a",))
    network = gd.GoogLeNet(5, **shape.model_dump())
    path = tmp_path / "model.safetensors"
    save_file(network.state_dict(), path, WeightsNote(network=shape).metadata)
    loaded = gd.load(path)
    images = torch.randn(2, 3, 42, 42)
    assert torch.equal(loaded.network(images), network.eval()(images))
    assert loaded.input_size == 42
    save_file(network.state_dict(), path)
    with pytest.raises(gd.InputError, match="has no note on its network; expected a file of"):
        gd.load(path)


def test_a_study_is_run_and_read(finished: Finished) -> None:
    study = gd.load_study(finished.experiment, ["--data", str(finished.data)])
    frame = gd.run(study, finished.root)
    assert frame.equals(gd.results(study, finished.root))
    assert list(frame.models) == [1, 1, 1, 2, 2, 2]
    assert set(gd.verdicts(study, finished.root).decision) <= {
        "reproduced",
        "not_reproduced",
        "inconclusive",
        "not_run",
    }
    with pytest.raises(gd.InputError, match="run the ensemble stage first"):
        gd.results(study, "nowhere")


def test_pixels_of_0_to_1_and_paths_are_refused_in_one_line(finished: Finished) -> None:
    with pytest.raises(gd.InputError, match=r"of pixels in 0\.\.255 it is 123\.675"):
        gd.evaluate(torch.nn.Identity(), finished.data / "val", mean=(0.485, 0.456, 0.406))
    with pytest.raises(gd.InputError, match=r"image: a str; expected a picture, such as PIL"):
        gd.crops("a.jpg")  # type: ignore[arg-type]
