"""What weights usually need, by their architecture; and what is said where it is not
done.
"""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.data.config import resolve_data_config
from timm.models import _registry
from torchvision import models

from pipeline.configs.crops import CropsConfig
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.models.loading import foreign_classifier
from pipeline.models.usual import Usual, notes, usual
from pipeline.paper.preprocessing import PREPROCESSING
from pipeline.tools.external import foreign_study

OLD_NAMES: dict[str, str | None] = getattr(_registry, "_deprecated_models", {})
DEAD = {"vit_base_patch32_224_sam", "vit_base_patch16_224_sam"}  # lead to tags that are no more


def usual_of(arch: str, weights: str = "w.pth", sha256: str = "0" * 64) -> Usual:
    found = usual(arch, Path(weights), sha256)
    assert found is not None
    return found


def evaluation(arch: str, sha256: str = "0" * 64, resize: str = "", **more: Any) -> EvaluateConfig:
    """As the command makes it."""
    theirs = usual_of(arch, sha256=sha256)
    mean, std, order = theirs.preprocessing
    fields = {"mean": mean, "std": std, "channel_order": order, "input_size": theirs.input_size}
    named = {"arch": arch, "weights": "w.pth", "sha256": sha256}
    return EvaluateConfig(
        data=PrepareConfig(source="digits", name="digits"),
        classifier=ForeignConfig.model_validate({**named, **fields, **more}),
        crops=CropsConfig.model_validate({"resize": resize or theirs.resize}),
    )


def test_usual_preprocessing() -> None:
    assert usual_of("googlenet", "w.caffemodel").preprocessing.channel_order == "bgr"
    theirs = usual_of("torchvision:resnet18")
    assert theirs.input_size == 224
    mean, std, _ = theirs.preprocessing
    assert mean + std == pytest.approx(PREPROCESSING.mean + PREPROCESSING.std)
    assert usual_of("torchvision:inception_v3").input_size == 299
    theirs = usual_of("timm:inception_v4")
    assert (theirs.input_size, theirs.preprocessing.std) == (299, (127.5, 127.5, 127.5))


@pytest.mark.skipif(len(OLD_NAMES) < 100, reason="timm keeps its old names elsewhere")
def test_old_names_of_timms_have_the_preprocessing_of_what_they_lead_to() -> None:
    """Of some 209; timm itself has no configuration under these names."""
    for old in (
        "xception",
        "tf_inception_v3",
        "gluon_inception_v3",
        *sorted(OLD_NAMES.keys() - DEAD)[::40],
    ):
        assert timm.models.get_pretrained_cfg(old) is None
        now = timm.models.get_pretrained_cfg(OLD_NAMES[old] or "")
        assert now is not None
        theirs = usual_of(f"timm:{old}")
        assert theirs.owner.startswith(f"timm's {OLD_NAMES[old]}")
        assert theirs.input_size == now.input_size[-1]
        mean, std, _ = theirs.preprocessing
        assert mean + std == pytest.approx([255 * value for value in (*now.mean, *now.std)])
        assert (theirs.kernel, theirs.crop) == (now.interpolation, now.crop_pct)
    for old, now_called in OLD_NAMES.items():  # none leads to where nothing is said
        assert old in DEAD or timm.models.get_pretrained_cfg(now_called or "") is not None, old
    for old in DEAD & OLD_NAMES.keys():
        with pytest.raises(InputError, match=f"timm:{old}: timm does not make it"):
            usual_of(f"timm:{old}")


@pytest.mark.parametrize(
    "name", ["resnet18", "inception_v3.gluon_in1k", "tf_inception_v3", "vit_tiny_patch16_224"]
)
def test_what_timm_itself_would_do(name: str) -> None:
    with torch.device("meta"), pytest.warns() if name in OLD_NAMES else torch.no_grad():
        network = timm.create_model(name)
    theirs, told = usual_of(f"timm:{name}"), resolve_data_config({}, model=network)
    assert theirs.input_size == told["input_size"][-1]
    assert theirs.preprocessing.mean == pytest.approx([255 * value for value in told["mean"]])
    assert (
        theirs.resize == {"bicubic": "pil_cubic", "bilinear": "pil_bilinear"}[told["interpolation"]]
    )


def test_without_timms_word_the_user_must_say_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entrypoints: dict[str, Any] = _registry._model_entrypoints
    monkeypatch.setitem(entrypoints, "silent", lambda **_: torch.nn.Linear(1, 1))
    save_file({"x": torch.zeros(1)}, weights := tmp_path / "w.safetensors")
    with pytest.raises(
        InputError, match=r"timm:silent: timm says nothing .* give --mean, --std and"
    ):
        foreign_study("timm:silent", weights, tmp_path, mean=(0, 0, 0), std=(1, 1, 1))
    study = foreign_study(
        "timm:silent", weights, tmp_path, mean=(1, 2, 3), std=(4, 5, 6), input_size=40
    )
    (said,) = notes(study.check.results[0].members[0])
    assert said == "timm:silent: timm says nothing of its preprocessing; all of it is yours"


def test_what_is_done_otherwise_is_said() -> None:
    assert notes(evaluation("torchvision:squeezenet1_0")) == []  # 256, 224, bilinear: as here
    said, crop = notes(evaluation("timm:xception"))
    assert "one crop is 87.7% of the side), where timm's legacy_xception.tf_in1k has" in crop
    assert said == "timm:xception: an old name of timm's, of legacy_xception.tf_in1k"
    assert notes(evaluation("timm:inception_v3.gluon_in1k")) == []
    (said,) = notes(evaluation("timm:inception_v3"))
    assert said.endswith(
        "names no tag, so it is inception_v3.tv_in1k; otherwise enter pixels of"
        " inception_v3.gluon_in1k"
    )
    said, crop = notes(evaluation("timm:resnet18.a1_in1k", resize="pil_bilinear"))
    assert said.endswith("resize pil_bilinear, where timm's resnet18.a1_in1k has pil_cubic")
    assert "one crop is 87.5% of the side" in crop
    assert "has one crop of 95.0%" in crop
    said, *_ = notes(evaluation("torchvision:resnet18", mean=(123, 117, 104)))
    assert said == (
        "torchvision:resnet18: mean 123,117,104, where torchvision's resnet18 IMAGENET1K_V1 has"
        " 123.675,116.28,103.53"
    )


def test_torchvisions_own_files_are_recognised() -> None:
    """By the digits of their SHA-256 in their addresses."""
    own = usual_of("torchvision:resnet50", sha256=f"0676ba61{'0' * 56}")
    assert (own.is_recognised, own.owner) == (True, "torchvision's resnet50 IMAGENET1K_V1")
    assert own.crop == 0.875
    other = usual_of("torchvision:resnet50")
    assert (other.is_recognised, other.owner) == (False, "torchvision's resnet50 IMAGENET1K_V2")
    digits = [
        weights.url.rpartition("-")[2].removesuffix(".pth")
        for name in models.list_models(module=models)
        for weights in models.get_model_weights(name)
    ]
    assert all(len(found) >= 8 and int(found, 16) for found in digits)


@pytest.mark.parametrize(
    ("name", "digits"), [("googlenet", "1378be20"), ("inception_v3", "0cc3c7bd")]
)
def test_the_input_is_transformed_for_torchvisions_own_weights_alone(
    name: str, digits: str, tmp_path: Path
) -> None:
    """Of weights trained from nothing, the logits are those of the network that they
    were trained in.
    """
    arch, path = f"torchvision:{name}", tmp_path / "w.safetensors"
    torch.manual_seed(0)
    images = torch.randn(8, 3, 96, 96)
    network = models.get_model(name, num_classes=7, init_weights=False, aux_logits=False)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the signal lives through all layers after one batch
    network(images)
    network.eval()
    save_file(network.state_dict(), path)
    foreign = foreign_study(arch, path, tmp_path).check.results[0].members[0]
    assert isinstance(foreign.classifier, ForeignConfig)
    assert notes(foreign)[-1].endswith(
        "transform_input is False; the file is not one that torchvision published (by its SHA-256)"
    )
    with torch.no_grad():
        expected = network(images)
        loaded = foreign_classifier(foreign.classifier, 7).network.eval()
        torch.testing.assert_close(loaded(images), expected)
        transformed = foreign.classifier.but(transform_input=True)
        moved = foreign_classifier(transformed, 7).network.eval()(images) - expected
        assert moved.abs().max() > 1e-3
    own = evaluation(arch, sha256=digits + "0" * 56, transform_input=True)
    assert notes(own)[-1].endswith(
        "transform_input is True; the file is torchvision's own (by its SHA-256)"
    )
    with pytest.raises(
        ValueError, match=r"transform_input None; expected True for torchvision's own"
    ):
        evaluation(arch)
    with pytest.raises(InputError, match="only torchvision:googlenet and torchvision:inception_v3"):
        foreign_study("torchvision:resnet18", path, tmp_path, transform_input=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mean": (0.485, 0.456, 0.406)}, "of pixels in 0..255 it is 123.675,116.28,103.53"),
        ({"std": (0.229, 0.224, 0.225)}, "of pixels in 0..255 it is 58.395,57.12,57.375"),
        ({"mean": (0.5, 0.5, 0.5)}, "of pixels in 0..255 it is 127.5,127.5,127.5"),
        ({"mean": (31537.0, 29651.0, 26400.0)}, "beyond all pixels"),
    ],
)
def test_a_mean_of_the_other_scale_is_refused(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    save_file({"x": torch.zeros(1)}, weights := tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=message):
        foreign_study("torchvision:resnet18", weights, tmp_path, **given)
    zeros, ones = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # pixels as they are
    assert foreign_study("torchvision:resnet18", weights, tmp_path, mean=zeros, std=ones)
