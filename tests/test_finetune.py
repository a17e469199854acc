"""Training on classes of one's own: the split by rule, the weights to begin with, the
command.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision import models

from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.fidelity import fidelity
from pipeline.configs.network import InitialWeights, NetworkConfig, PixelConfig, WeightsNote
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.recipes import CAFFE_PIXELS
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.models.beginning import begin_with, note_of
from pipeline.models.making import network_of
from pipeline.paper.googlenet import GoogLeNet
from pipeline.sources.registry import open_source
from pipeline.stages.prepare import prepare
from pipeline.stages.train import train
from pipeline.tools.finetune import finetune_study
from pipeline.training.learner import Learner
from tests.commands import in_process
from tests.labelled_pictures import put
from tests.stages.trained import final

SMALL = NetworkConfig(input_size=42, width=0.125)


def weights_file(
    path: Path, network: NetworkConfig = SMALL, classes: int = 5, pixels: PixelConfig | None = None
) -> Path:
    """Write random weights with their note."""
    torch.manual_seed(3)
    state = GoogLeNet(classes, **network.model_dump()).state_dict()
    note = WeightsNote(network=network, pixels=pixels or PixelConfig())
    save_file(state, path, note.metadata)
    return path


def splits(folder: Path) -> dict[str, str]:
    config = PrepareConfig(source="unsplit_folder", name="own", path=folder)
    return {piece.name: piece.split for piece in open_source(config).pieces()}


def test_the_split_goes_by_content(tmp_path: Path) -> None:
    """Twenty per cent of each class, whatever the names; equal files stay together; of
    two files one is on either side.
    """
    for k in range(20):
        put(tmp_path / f"one/large/{k}.png", f"{k % 19}".encode())  # 0 and 19 are equal
        put(tmp_path / f"two/large/{(k * 7) % 20}.jpg", f"{k % 19}".encode())
    for number in (1, 2):
        for k in range(number):
            for top in ("one", "two"):
                put(tmp_path / f"{top}/of {number}/{k}.png", f"{k}".encode())
    one, two = splits(tmp_path / "one"), splits(tmp_path / "two")
    large = [split for name, split in one.items() if name.startswith("large")]
    assert large.count("val") in (4, 5)
    assert one["large/0.png"] == one["large/19.png"]
    names = [(f"large/{k}.png", f"large/{(k * 7) % 20}.jpg") for k in range(20)]
    assert all(one[first] == two[second] for first, second in names)
    assert sorted((one["of 2/0.png"], one["of 2/1.png"])) == ["train", "val"]
    assert one["of 1/0.png"] == "train"


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({}, "classifier of 3 classes (5 in the file), that of head 4a, that of head 4d"),
        (
            {"input_size": 224},
            "auxiliary head 4a, auxiliary head 4d, classifier of 3 classes (5 in the file)",
        ),
        ({"aux_heads": ()}, "classifier of 3 classes (5 in the file)"),
        ({"dropout": 0.1, "aux_heads": ("4d",)}, None),
    ],
)
def test_all_else_is_the_files(
    run_config: TrainConfig, tmp_path: Path, change: dict[str, Any], anew: str | None
) -> None:
    begin = InitialWeights.of(weights_file(tmp_path / "w.safetensors"))
    config = run_config.but(network=SMALL.but(**change), begin=begin)
    classes = 5 if anew is None else 3
    network = network_of(config.network, classes)
    own = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    words = begin_with(network, config, begin, classes)
    assert words.endswith(f"drawn anew: {anew}" if anew else "nothing is drawn anew")
    file = load_file(begin.path)
    for name, tensor in network.state_dict().items():
        is_anew = anew and (
            "classifier" in name or ("input_size" in change and name.startswith("aux_heads"))
        )
        assert torch.equal(tensor, own[name] if is_anew else file[name]), name


def test_heads_that_the_file_lacks_are_drawn(run_config: TrainConfig, tmp_path: Path) -> None:
    begin = InitialWeights.of(weights_file(tmp_path / "w.safetensors", SMALL.but(aux_heads=())))
    config = run_config.but(begin=begin)
    words = begin_with(GoogLeNet(5, **SMALL.model_dump()), config, begin, 5)
    assert words.endswith("drawn anew: auxiliary head 4a, auxiliary head 4d")


@pytest.mark.parametrize(
    ("network", "pixels", "message"),
    [
        (SMALL.but(norm="none"), None, "is of a network with norm=none, which"),
        (SMALL.but(width=0.25), None, "is of a network with width=0.25, which"),
        (SMALL, CAFFE_PIXELS, "was trained with mean .* give the training these pixels"),
    ],
)
def test_another_network_is_refused(
    run_config: TrainConfig,
    tmp_path: Path,
    network: NetworkConfig,
    pixels: PixelConfig | None,
    message: str,
) -> None:
    """Also where every tensor has the right shape."""
    begin = InitialWeights.of(weights_file(tmp_path / "w.safetensors", network, pixels=pixels))
    config = run_config.but(begin=begin)
    with pytest.raises(InputError, match=message):
        begin_with(GoogLeNet(3, **SMALL.model_dump()), config, begin, 3)


def test_weights_of_others_are_refused_in_one_line(tmp_path: Path) -> None:
    torchs = models.googlenet(num_classes=4, init_weights=False, aux_logits=False)
    save_file(torchs.state_dict(), tmp_path / "torchvision.safetensors")
    with pytest.raises(InputError, match="3 x 3 where the paper's has 5 x 5 convolutions"):
        note_of(tmp_path / "torchvision.safetensors")
    save_file({"x": torch.zeros(2, 2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="have no note of ours on their network; expected"):
        note_of(tmp_path / "other.safetensors")


def test_the_file_is_part_of_the_name_and_its_place_is_not(
    run_config: TrainConfig, tmp_path: Path
) -> None:
    begin = InitialWeights.of(weights_file(tmp_path / "w.safetensors"))
    config = run_config.but(begin=begin)
    assert config.hash != run_config.hash
    assert config.but(begin=begin.but(path=Path("elsewhere"))).hash == config.hash
    weights_file(begin.path, classes=6)
    with pytest.raises(InputError, match="is another file than when the training was defined"):
        begin_with(GoogLeNet(3, **SMALL.model_dump()), config, begin, 3)
    member = EvaluateConfig(data=config.data, classifier=config)
    assert "began with the weights of another training" in fidelity([member]).refusals


@pytest.mark.processes
def test_a_resumed_run_ends_with_the_same_bits(
    run_config: TrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    begin = InitialWeights.of(weights_file(tmp_path / "w.safetensors"))
    config = run_config.but(begin=begin, checkpoint_every_steps=2)
    for root in ("whole", "killed"):
        prepare(config.data, tmp_path / root, processes=1)
    train(config, tmp_path / "whole")
    original = Learner.step

    def fails(self: Learner, step: Any, batch: Any) -> torch.Tensor:
        if step.number == 8:
            raise RuntimeError("killed")
        return original(self, step, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", fails)
        with pytest.raises(RuntimeError, match="killed"):
            train(config, tmp_path / "killed")
    train(config, tmp_path / "killed")
    assert final(config, tmp_path / "killed") == final(config, tmp_path / "whole")
    assert capfd.readouterr().err.count("; drawn anew: classifier of 3 classes") == 2
    card = (tmp_path / "whole" / config.folder / "final/README.md").read_text()
    assert begin.sha256 in card
    assert str(tmp_path) not in card


@pytest.mark.processes
def test_finetune_trains_evaluates_and_reports(image_folder: Path, tmp_path: Path) -> None:
    weights = weights_file(tmp_path / "w.safetensors")
    command = ("finetune", image_folder / "train", "--weights", weights, "--epochs", 1)
    ended = in_process(*command, "--name", "own", "--root", tmp_path / "root", "--processes", 1)
    assert ended.returncode == 0, ended.stderr
    assert "own: 3 classes, 18 images for training, 6 for validation" in ended.stdout
    assert "recipe: 1 epoch in batches of 32, rate 0.005, 42 px, width 0.125" in ended.stdout
    assert "have the lowest" not in ended.stdout
    assert "the 20 % of its files with the lowest SHA-256 are for validation" in ended.stderr
    assert re.search(r"^ +1 144 ", ended.stdout, re.MULTILINE)
    (path,) = re.findall(r"^weights: (.*)$", ended.stdout, re.MULTILINE)
    assert len(load_file(path)["classifier.weight"]) == 3
    # the study has no experiment file; the folder of its report stands for it
    (folder,) = re.findall(r"^study: (.*), which", ended.stdout, re.MULTILINE)
    root = ("--root", tmp_path / "root")
    for name in ("status", "report", "verify", "recount"):
        again = in_process(name, folder, *root)
        assert again.returncode == 0, again.stderr
    # the folder says its root, too
    assert f"report: {folder}/report.html" in in_process("report", folder).stdout
    assert " missing " not in in_process("plan", folder).stdout
    assert "takes no others (--epochs)" in in_process("status", folder, "--epochs", 2).stderr
    assert "has no study.json" in in_process("status", tmp_path).stderr


def test_the_recipe_follows_the_number_of_images(image_folder: Path, tmp_path: Path) -> None:
    """Images that are split already stay so."""
    plain = finetune_study(image_folder)
    assert plain.run.data.source == "imagefolder"
    assert (plain.run.num_epochs, plain.run.learning_rate) == (100, 0.01)
    assert plain.run.data.name == re.sub(r"[^A-Za-z0-9._-]", "-", image_folder.name)
    with pytest.raises(InputError, match=r"--width 1: the weights are of a network of width 0.125"):
        finetune_study(image_folder, weights_file(tmp_path / "w.safetensors"), width=1)
    with pytest.raises(InputError, match="num_epochs = 0: Input should be greater than 0"):
        finetune_study(image_folder, epochs=0)
