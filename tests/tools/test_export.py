"""Files that export writes can be used without this project."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
from huggingface_hub import ModelCard, ModelCardData
from safetensors.torch import load_file, save
from timm.data.config import resolve_data_config
from torchvision.transforms import Normalize

import going_deeper.timm
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.run import Run
from pipeline.configs.compare import table3
from pipeline.configs.evaluate import ForeignConfig
from pipeline.configs.network import PixelConfig
from pipeline.configs.other_network import OtherNetwork
from pipeline.configs.recipes import CAFFE_PIXELS
from pipeline.configs.study import CheckConfig, Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError, present
from pipeline.images import decode as images
from pipeline.models.making import network_of
from pipeline.paper.googlenet import GoogLeNet, normalise
from pipeline.paper.initialisation import INITIALISATIONS
from pipeline.reporting.front_matter import Licence, front_matter
from pipeline.stages.evaluate import evaluate
from pipeline.stages.prepare import prepare
from pipeline.stages.train import train
from pipeline.tools.export import export
from pipeline.tools.external import foreign_study
from pipeline.tools.layout import Described, write_layout
from tests.commands import going_deeper as going_deeper_command
from tests.commands import in_process
from tests.models.test_caffe import caffemodel
from tests.push_stub import TOKEN, hub


@pytest.mark.slow  # ONNX's exporter takes its time
def test_export(tmp_path: Path, study: Study) -> None:
    """ONNX gives the network's logits to 1e-4 on real crops, for any batch; the card
    holds the measured errors.
    """
    root, into = tmp_path / "root", tmp_path / "exported"
    evaluation = study.check.results[0].members[0]
    run = evaluation.classifier
    assert isinstance(run, TrainConfig)
    prepared = prepare(evaluation.data, root)
    train(run, root)
    export(study, root, 0, into)
    assert "Not measured: the study has not been evaluated." in (into / "README.md").read_text()
    evaluate(evaluation, root)
    export(study, root, 0, into)
    card = (into / "README.md").read_text()
    assert card.count("| 144 |") == 1
    properties = {p.key: p.value for p in onnx.load(into / "model.onnx").metadata_props}
    assert PixelConfig.model_validate_json(properties["pixels"]) == run.pixels
    for name, value in (("mean", run.pixels.mean), ("std", run.pixels.std)):
        assert json.loads(properties[name]) == list(value)
    classes = Dataset(evaluation.data, root).classes
    assert json.loads(properties["classes"]) == list(classes)
    assert "class_balance: 0.5" in card
    data = the_card_is_valid(into / "README.md")
    assert (data.license, data.license_name) == ("other", "terms-of-colours")
    measured = {result.metric_name: result.metric_value for result in data.eval_results or ()}
    wrong = Predictions(evaluation, root).ranks("crops_144") >= 1
    assert measured["top-1 accuracy, crops: 144"] == pytest.approx(1 - wrong.mean())

    network = GoogLeNet(3, run.input_size, present(run.shape, "a GoogLeNet").width)
    network.load_state_dict(load_file(into / "model.safetensors"))
    split = Dataset(evaluation.data, root).split("val")
    assert len(split) == prepared.manifest.num_images["val"]
    pixels = np.stack(
        [np.asarray(images.decode(split.encoded(k)).resize((42, 42))) for k in range(5)]
    )
    x = normalise(torch.from_numpy(pixels), run.pixels.preprocessing)
    session = onnxruntime.InferenceSession(str(into / "model.onnx"))
    (logits,) = session.run(None, {"images": x.contiguous().numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(logits, network.eval()(x).numpy(), atol=1e-4)
        torch.testing.assert_close(with_timm(into, pixels), network(x).softmax(1))
    assert read_config(into)["label_names"] == list(classes)


def the_card_is_valid(path: Path) -> ModelCardData:
    """huggingface_hub itself reads the head of the card, and its model-index."""
    card = ModelCard.load(path)
    assert isinstance(card.data, ModelCardData)
    assert card.text.lstrip().startswith("# GoogLeNet")
    assert (card.data.library_name, card.data.pipeline_tag) == ("timm", "image-classification")
    return card.data


def read_config(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_text())


def with_timm(folder: Path, pixels_NHWC: np.ndarray) -> torch.Tensor:
    """Return the probabilities of the network that timm makes of a folder, which sees
    images as timm normalises them.
    """
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    told = resolve_data_config({}, model=network)
    assert told["input_size"] == (3, *pixels_NHWC.shape[1:3])
    transform = Normalize(told["mean"], told["std"])
    with torch.no_grad():
        scores: torch.Tensor = network(
            transform(torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2) / 255)
        ).softmax(1)
    return scores


@pytest.mark.slow  # ONNX's exporter takes its time
def test_convert(tmp_path: Path) -> None:
    """A .caffemodel becomes what export writes, bit for bit; timm's network, which sees
    RGB, has the probabilities of ours, which sees BGR.
    """
    torch.manual_seed(0)
    network = GoogLeNet(num_classes=7)
    INITIALISATIONS["caffe"](network, torch.Generator().manual_seed(0))
    file, into = tmp_path / "x.caffemodel", tmp_path / "out"
    file.write_bytes(caffemodel(network.state_dict()))
    names = tmp_path / "classes.txt"
    names.write_text("\n".join("abcdefg"))
    options = ("convert", file, "--out", into, "--classes", names)
    names.write_text("a\nb")
    ended = in_process(*options)
    assert (ended.returncode, into.exists()) == (2, False)
    assert f"names 2 classes; {file} has 7 outputs" in ended.stderr
    names.write_text("\n".join("abcdefg"))
    ended = in_process(*options, "--license", "bsd-2-clause")
    assert ended.returncode == 0, ended.stderr
    weights = load_file(into / "model.safetensors")
    assert all(torch.equal(weights[name], t) for name, t in network.state_dict().items())
    assert the_card_is_valid(into / "README.md").license == "bsd-2-clause"
    assert read_config(into)["label_names"] == list("abcdefg")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), np.uint8)
    ours = going_deeper.load(into / "model.safetensors")
    with torch.no_grad():
        x = normalise(torch.from_numpy(pixels), ours.preprocessing)
        torch.testing.assert_close(
            with_timm(into, pixels), ours.network(x).softmax(1), atol=1e-6, rtol=0
        )
    tuned = timm.create_model(
        f"local-dir:{into}", pretrained=True, num_classes=2, aux_heads=("4a",)
    )
    assert torch.equal(tuned.state_dict()["conv2.conv.weight"], network.conv2.conv.weight)


@pytest.mark.slow  # ONNX's exporter takes its time
def test_a_network_of_timms_needs_nothing_of_ours(tmp_path: Path) -> None:
    """timm makes it again from the folder; another library's has no config.json."""
    config, pixels = OtherNetwork.of("timm:test_resnet", 64), PixelConfig()
    network = network_of(config, 3, seed=0).eval()
    described = Described(network, config, pixels, 3, ("a", "b", "c"), "other")
    weights = save(network.state_dict())
    into = write_layout(tmp_path / "timm", described, weights, "")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    with torch.no_grad():
        expected = network(normalise(torch.from_numpy(images), pixels.preprocessing)).softmax(1)
    torch.testing.assert_close(with_timm(into, images), expected, atol=1e-6, rtol=0)
    assert onnxruntime.InferenceSession(str(into / "model.onnx")).get_inputs()[0].name == "images"
    foreign = described._replace(config=OtherNetwork.of("torchvision:resnet18", 64))
    into = write_layout(into, foreign, weights, "")
    assert sorted(path.name for path in into.iterdir()) == [
        "README.md",
        "model.onnx",
        "model.safetensors",
    ]


@pytest.mark.processes
def test_push(tmp_path: Path) -> None:
    """All files arrive with a token; without one, or with a wrong one, a line says so.

    (A process reads the address and the token when it begins.)
    """
    network = GoogLeNet(num_classes=3)
    file = tmp_path / "x.caffemodel"
    file.write_bytes(caffemodel(network.state_dict()))
    with hub() as (address, files):
        own = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}

        def push(token: str, into: Path, to: str = "me/net") -> Any:
            return going_deeper_command(
                *("convert", file, "--out", into, "--push", to),
                environment={**own, "HF_TOKEN": token},
            )

        ended = push("", tmp_path / "one")
        assert (ended.returncode, (tmp_path / "one").exists()) == (2, False)
        assert f"--push me/net: no token for {address}; set HF_TOKEN" in ended.stderr
        ended = push(TOKEN, tmp_path / "one", "no/such/name")
        assert (ended.returncode, (tmp_path / "one").exists()) == (2, False)
        ended = push("hf_another", tmp_path / "one")
        assert (ended.returncode, files) == (2, {})
        assert f"--push me/net: {address} refuses the token (401)" in ended.stderr
        ended = push(TOKEN, into := tmp_path / "two")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.splitlines() == [str(into), f"{address}/me/net"]
        assert files == {path.name: path.read_bytes() for path in into.iterdir()}
        assert TOKEN not in ended.stderr


@pytest.mark.processes
@pytest.mark.parametrize("pixels", [PixelConfig(), CAFFE_PIXELS], ids=["usual", "caffes"])
def test_an_exported_member_can_be_measured(
    tmp_path: Path, study: Study, image_folder: Path, pixels: PixelConfig
) -> None:
    """`evaluate --arch googlenet` finds its width, input size and pixels in the file,
    and the same probabilities; raw weights too. So it does in the run's own file.
    """
    root = tmp_path / "root"
    averaged = study.check.results[0].members[0]
    assert isinstance(averaged.classifier, TrainConfig)
    evaluation = averaged.but(weights="raw", classifier=averaged.classifier.but(pixels=pixels))
    raw = Study(name="raw", title="Raw", check=CheckConfig(results=table3((evaluation,))))
    assert isinstance(evaluation.classifier, TrainConfig)
    prepare(evaluation.data, root)
    train(evaluation.classifier, root)
    into = export(raw, root, 0, tmp_path / "exported")
    card = (into / "README.md").read_text()
    assert "holds the raw weights" in card
    sentence = f"Input: {pixels.channel_order.upper()} in 0..255, minus {pixels.mean}, divided by"
    assert sentence in card
    own = root / evaluation.classifier.folder / "final/raw.safetensors"
    (kept,) = foreign_study("googlenet", own, image_folder).check.results[0].members
    assert isinstance(kept.classifier, ForeignConfig)
    assert kept.classifier.mean == pixels.mean
    foreign = foreign_study("googlenet", into / "model.safetensors", image_folder)
    (again,) = foreign.check.results[0].members
    assert isinstance(again.classifier, ForeignConfig)
    assert again.classifier.input_size == 42
    assert again.classifier.channel_order == pixels.channel_order
    prepare(again.data, root)
    ours, theirs = (
        evaluate(config, root).probabilities("crops_144") for config in (evaluation, again)
    )
    assert np.array_equal(ours, theirs)
    classes = evaluate(evaluation, root).probabilities("crops_1").argmax(axis=1)
    wrong = np.mean(classes != Dataset(evaluation.data, root).split("val").labels)
    (*_, last) = Run(evaluation.classifier, root).metrics()
    assert last["val_top1_error_raw"] == wrong  # validation, too, reads the run's pixels


def test_wrong_members_are_named(tmp_path: Path, study: Study) -> None:
    with pytest.raises(InputError, match="--member 2: the study has members 0 to 1"):
        export(study, tmp_path, 2, tmp_path / "into")
    with pytest.raises(InputError, match=r"run\.json: does not exist; run the train stage first"):
        export(study, tmp_path, 1, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_the_card_of_a_users_network_names_no_library() -> None:
    terms = Licence.of_weights(None, "birds")
    assert "library_name: timm" in front_matter("x", terms)
    assert "library_name" not in front_matter("x", terms, library=None)


def test_a_file_is_no_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = in_process("convert", "x.caffemodel", "--out", tmp_path / "file")
    assert (ended.returncode, "file' is a file" in ended.stderr) == (2, True)
