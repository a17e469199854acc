"""Caffe's quick recipe is Caffe's, constant by constant."""

import copy
import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.artefacts.dataset import Split
from pipeline.artefacts.shards import Record, write_shard
from pipeline.configs.crops import CropsConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.experiment import load_study
from pipeline.configs.fidelity import caffe_fidelity
from pipeline.configs.network import NetworkConfig
from pipeline.configs.patches import PatchConfig
from pipeline.configs.prepare import ILSVRC2012_IMAGES, PrepareConfig
from pipeline.configs.recipes import caffe_quick
from pipeline.configs.train import TrainConfig
from pipeline.images.patches import cut_patch
from pipeline.models.classify import open_image
from pipeline.paper.augmentation import stream, training_patch
from pipeline.runtime import process_group
from pipeline.training.cadence import Cadence, Step
from pipeline.training.learner import Learner
from pipeline.training.loader import Batch
from tests.commands import TOP

DATA = PrepareConfig(source="ilsvrc2012", name="ilsvrc2012")
SMALL = caffe_quick(DATA, network=NetworkConfig(input_size=42, width=0.125))


def in_float64(tensor: torch.Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.detach().numpy().astype(np.float64)


def test_steps_are_caffes_written_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """SGDSolver::ApplyUpdate: decay into the gradient, the rate into the velocity,
    twice the rate and no decay for biases; the rate falls between the steps.
    """
    learner = Learner(SMALL.but(weight_decay=0.05), 3, process_group.join())
    seen: list[dict[str, np.ndarray]] = []

    gradient = learner._gradient

    def seen_gradient(batch: Batch) -> torch.Tensor:
        losses = gradient(batch)
        seen.append({n: in_float64(p.grad) for n, p in learner.network.named_parameters()})
        return losses

    monkeypatch.setattr(learner, "_gradient", seen_gradient)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 42, 42, 3), np.uint8))
    batch = Batch(pixels, torch.tensor([0, 1, 2, 0]), torch.empty(4, 0))
    weights = {n: in_float64(p) for n, p in learner.network.named_parameters()}
    velocity = {name: np.zeros_like(value) for name, value in weights.items()}
    for number, rate in enumerate((0.01, 0.002, 0.001), start=1):
        learner.step(Step(number, rate), batch)
        for name, w in weights.items():
            multiple, decay = (2, 0) if name.endswith("bias") else (1, 0.05)
            velocity[name] = 0.9 * velocity[name] + rate * multiple * (seen[-1][name] + decay * w)
            weights[name] = w - velocity[name]
    for name, parameter in learner.network.named_parameters():
        np.testing.assert_allclose(parameter.detach(), weights[name], rtol=1e-4, atol=1e-7)


def test_a_resumed_training_keeps_its_velocity() -> None:
    batch = Batch(
        torch.full((4, 42, 42, 3), 9, dtype=torch.uint8), torch.arange(4) % 3, torch.empty(4, 0)
    )
    first, second = (Learner(SMALL, 3, process_group.join()) for _ in range(2))
    first.step(Step(1, 0.01), batch)
    second.load(copy.deepcopy(first.state()))
    for learner in (first, second):
        learner.step(Step(2, 0.005), batch)
    for ours, theirs in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_rate_is_that_of_the_steps_before() -> None:
    cadence = Cadence(caffe_quick(DATA), ILSVRC2012_IMAGES["train"])
    assert cadence.num_steps == 2_400_000
    for number in (1, 600_001, 1_800_001, 2_400_000):
        expected = 0.01 * (1 - (number - 1) / 2_400_000) ** 0.5
        assert cadence.step(number).rate == pytest.approx(expected, rel=1e-9)


def test_pixels_enter_as_caffes() -> None:
    """Blue, green, red, less their means."""
    learner = Learner(SMALL, 3, process_group.join())
    seen: list[torch.Tensor] = []
    first = learner.network.get_submodule("conv1")
    first.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    pixels = torch.arange(4 * 42 * 42 * 3).remainder(251).to(torch.uint8).reshape(4, 42, 42, 3)
    learner.step(Step(1, 0.01), Batch(pixels, torch.zeros(4, dtype=torch.long), torch.empty(4, 0)))
    red, green, blue = pixels.float().unbind(3)
    assert torch.equal(seen[0], torch.stack((blue - 104, green - 117, red - 123), 1))


def photograph() -> Image.Image:
    y, x = np.mgrid[:300, :500]
    pixels = [128 + 100 * np.sin(x / 17) * np.cos(y / 11), 255 * (x > y), 255 * x / 500]
    return Image.fromarray(np.stack(pixels, axis=2).astype(np.uint8))


def encoded() -> bytes:
    file = io.BytesIO()
    photograph().save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("resize", "levels"), [("pil", 0), ("torch", 2)])
def test_a_training_patch_is_cut_from_the_warped_image(resize: Any, levels: int) -> None:
    warped = np.array(photograph().resize((256, 256), Image.Resampling.BILINEAR), int)
    places = set()
    for seed in range(8):
        patch = training_patch(stream(seed), 500, 300, sampling="warped")
        pixels = cut_patch(encoded(), lambda *_: patch, 224, PatchConfig(resize=resize))  # noqa: B023
        expected = warped[patch.top :, patch.left :][:224, :224]
        expected = expected[:, ::-1] if patch.mirrored else expected
        assert np.abs(pixels.numpy().astype(int) - expected).max() <= levels
        places.add((patch.left, patch.top))
    assert len(places) > 4
    assert all(0 <= offset <= 32 for place in places for offset in place)


def test_patches_are_warped_in_proportion_at_other_sizes() -> None:
    patch = training_patch(stream(0), 500, 300, sampling="warped", input_size=112)
    assert (patch.warped, patch.width, patch.height) == (128, 112, 112)


def test_scaled_decoding_keeps_the_warp() -> None:
    """A large JPEG decoded at a quarter, near enough."""
    file = io.BytesIO()
    photograph().resize((2400, 1600)).save(file, "JPEG", quality=95)
    patch = training_patch(stream(3), 2400, 1600, sampling="warped")
    whole, scaled = (
        cut_patch(file.getvalue(), lambda *_: patch, 224, PatchConfig(scaled_decoding=s)).int()
        for s in (False, True)
    )
    assert 0 < (whole - scaled).abs().float().mean() < 3


def test_evaluation_crops_the_warped_image(tmp_path: Path) -> None:
    """Caffe's centre crop is 224 of 256 x 256, whatever the shape of the image."""
    shard = tmp_path / "one.arrow"
    content = encoded()
    write_shard(
        shard, ["x"], [Record("0", content, 0, 500, 300, hashlib.sha256(content).hexdigest())]
    )
    config = CropsConfig(aspect="warped")
    image = open_image(Split([shard]), 0, ("crops_1",), 224, config)
    (crop,), (plane,) = image.crops, image.planes.values()
    pixels = plane[crop.top : crop.top + 224, crop.left : crop.left + 224]
    warped = photograph().resize((256, 256), Image.Resampling.BILINEAR)
    assert np.array_equal(pixels, np.array(warped.crop((16, 16, 240, 240))))


def member(run: TrainConfig, **options: Any) -> EvaluateConfig:
    chosen = {"weights": "raw", "crops": CropsConfig(aspect="warped"), **options}
    return EvaluateConfig(data=DATA, classifier=run, **chosen)


def test_the_experiment_is_the_recipe() -> None:
    study = load_study(TOP / "experiments/caffe_quick.py", ["--data", "anywhere"])
    members = study.check.results[0].members
    assert caffe_fidelity(members) == ((), ())
    assert study.check.neighbour is not None
    assert study.check.neighbour.id == "R8"
    one_epoch = load_study(
        TOP / "experiments/caffe_quick.py", ["--data", "anywhere", "--epochs", "1"]
    )
    refused = caffe_fidelity(one_epoch.check.results[0].members).refusals
    assert refused == ("trained with num_epochs=1",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bias_rate": 1.0}, "bias_rate=1"),
        ({"momentum_form": "gradient"}, "momentum_form=gradient"),
        ({"sampling": "caffe"}, "sampling=caffe"),
        ({"init": "kaiming"}, "init=kaiming"),
        ({"network": NetworkConfig(aux_dropout=0.5)}, "aux_dropout=0.5"),
    ],
)
def test_what_is_not_the_recipe_is_refused(changes: dict[str, Any], words: str) -> None:
    differences = caffe_fidelity([member(caffe_quick(DATA).but(**changes))])
    assert differences.refusals == (f"trained with {words}",)


def test_what_is_near_the_recipe_is_remarked_upon() -> None:
    run = caffe_quick(DATA).but(precision="bf16", data_seed=3, averaging_decay=0.5)
    assert caffe_fidelity([member(run, precision="bf16")]) == (
        (),
        ("precision=bf16", "evaluated in bf16"),
    )
    assert caffe_fidelity([member(run, weights="averaged", crops=CropsConfig())]).refusals == (
        "measured averaged weights, not the last step's",
        "cut its crops with aspect=kept",
    )
