"""Networks of timm, torchvision and a user's file are trained as GoogLeNet is: exactly
resumed, evaluated by their own weights, with timm's optimisers.
"""

import os
import shutil
import signal
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torchvision.transforms import v2

from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.run import Run
from pipeline.configs import family
from pipeline.configs.crops import CropsConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.network import InitialWeights, NetworkConfig, PixelConfig, WeightsNote
from pipeline.configs.other_network import OtherNetwork
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.models.making import network_of
from pipeline.runtime import process_group
from pipeline.stages.evaluate import evaluate
from pipeline.stages.train import train
from pipeline.tools.foreign import foreign_config
from pipeline.training.cadence import Step
from pipeline.training.learner import Learner
from pipeline.training.loader import Batch
from tests.commands import in_process
from tests.forks import fork
from tests.stages import trained

USERS = """
from torch import nn
def small(num_classes, width=4):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))
def with_head(num_classes):
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.aux = small(num_classes), small(num_classes)
        def forward(self, x):
            return (self.main(x), self.aux(x)) if self.training else self.main(x)
    return Both()
def idle(num_classes):
    network = small(num_classes)
    network[0].register_module("spare", nn.Linear(2, 3))
    return network
def dictionary(num_classes):
    class Dictionary(nn.Sequential):
        def forward(self, x):
            return {"logits": super().forward(x)}
    return Dictionary(*small(num_classes))
"""
RMSPROP = {"optimizer": "timm:rmsproptf", "optimizer_arguments": {"eps": 1.0, "alpha": 0.9}}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("code") / "mine.py"
    path.write_text(USERS)
    return path


def other(run_config: TrainConfig, network: OtherNetwork, **fields: Any) -> TrainConfig:
    return run_config.but(network=network, **{"init": "own"} | fields)


def one_more(config: TrainConfig, root: Path) -> dict[str, str]:
    """Train, and return digests of the final weights without the run."""
    train(config, root)
    weights = trained.final(config, root)
    shutil.rmtree(root / config.folder)
    return weights


@pytest.mark.slow  # eight launches
@pytest.mark.parametrize("kind", ["timm", "torchvision", "python"])
def test_killed_it_ends_with_the_same_bits(
    root: Path, run_config: TrainConfig, code: Path, kind: str
) -> None:
    """Each kind with another optimiser; batch norm and dropout among the state."""
    config = {
        "timm": other(run_config, OtherNetwork.of("timm:test_resnet", 48), **RMSPROP),
        "torchvision": other(
            run_config, OtherNetwork.of("torchvision:shufflenet_v2_x0_5", 48), clip_norm=2.0
        ),
        "python": other(
            run_config,
            OtherNetwork.of(f"{code}:with_head", 48, ("aux",)),
            optimizer="timm:adamw",
            rates=(("main.0", 0.1),),
        ),
    }[kind].but(checkpoint_every_steps=1)
    expected = one_more(config, root)
    process = fork(train, config, root)
    checkpoints = root / config.folder / "checkpoints"
    trained.wait([process], lambda: len(list(checkpoints.glob("step_*"))) > 1)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert not config.is_complete(root)
    train(config, root)
    assert trained.final(config, root) == expected
    names = {name for row in Run(config, root).metrics() for name in row}
    assert ("loss_aux" in names) == (kind == "python")


@pytest.mark.processes
def test_two_ranks_agree_on_statistics(root: Path, run_config: TrainConfig) -> None:
    """Those of batch norm are the mean over the ranks, in a network of timm's too."""
    config = other(run_config, OtherNetwork.of("timm:test_resnet", 48), num_epochs=1)
    trained.run(2, config, root)
    weights = Run(config, root).weights("raw")
    statistics = {name: t for name, t in weights.items() if name.endswith("running_mean")}
    assert statistics
    assert all(bool(tensor.abs().sum() > 0) for tensor in statistics.values())


def test_its_weights_are_what_is_evaluated(
    root: Path, run_config: TrainConfig, data: PrepareConfig
) -> None:
    """At one crop a plain network with the saved weights gives the same."""
    config = other(run_config, OtherNetwork.of("timm:test_resnet", 56), num_epochs=1)
    train(config, root)
    evaluation = EvaluateConfig(
        data=data, classifier=config, policies=("crops_1",), crops=CropsConfig(centre="half_even")
    )
    evaluate(evaluation, root)
    file = Run(config, root).weights_file("averaged")
    assert WeightsNote.model_validate_json(note_of(file)).network == config.network
    network = timm.create_model("test_resnet", num_classes=3).eval()
    network.load_state_dict(load_file(file))
    pixels = config.pixels
    one_crop = v2.Compose(
        [
            v2.Resize(64),
            v2.CenterCrop(56),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32),
            v2.Normalize(pixels.mean, pixels.std),
        ]
    )
    split = Dataset(data, root).split("val")
    scores = Predictions(evaluation, root).probabilities("crops_1")
    with torch.no_grad():
        for index in range(len(split)):
            image = Image.open(BytesIO(split.encoded(index))).convert("RGB")
            expected = network(one_crop(image)[None]).softmax(1)[0].numpy()
            np.testing.assert_allclose(scores[index], expected, atol=1e-6)


def note_of(file: Path) -> str:
    with safe_open(file, "pt") as opened:
        return str(opened.metadata()["going_deeper"])


def test_initial_weights_keep_all_but_the_classifier(
    tmp_path: Path, run_config: TrainConfig, code: Path
) -> None:
    network = OtherNetwork.of(f"{code}:small")
    theirs = network_of(network, 7, seed=1)
    torch.save({"state_dict": theirs.state_dict()}, tmp_path / "w.pth")
    begin = InitialWeights.of(tmp_path / "w.pth")
    learner = Learner(other(run_config, network, begin=begin), 3, process_group.join())
    assert "6.weight of 3 (7 in the file), 6.bias of 3 (7 in the file)" in learner.beginning
    ours = learner.network.state_dict()
    for name, tensor in theirs.state_dict().items():
        assert name.startswith("6.") or torch.equal(ours[name], tensor)


def test_frozen_parts_stay_and_parts_have_rates(run_config: TrainConfig, code: Path) -> None:
    network = OtherNetwork.of(f"{code}:small", 32)
    config = other(run_config, network, frozen=("0", "1"), rates=(("6.weight", 10.0),))
    learner = Learner(config, 3, process_group.join())
    before = {name: tensor.clone() for name, tensor in learner.network.state_dict().items()}
    pixels = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    learner.step(Step(1, 0.1), Batch(pixels, torch.tensor([0, 1, 2, 0]), torch.empty(4, 0)))
    after = learner.network.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"6.weight", "6.bias"}
    assert [group["lr"] for group in learner.optimizer.param_groups] == pytest.approx([0.1, 1.0])
    for fields, message in (
        ({"frozen": ("8",)}, "frozen '8': the network has no such part; its parts: 0, 1, 6"),
        ({"rates": (("6.wight", 2.0),)}, "rates '6.wight': the network has no such part"),
        ({"rates": (("6", 2.0), ("6", 3.0))}, "rates '6': is there twice"),
        ({"rates": (("0", 2.0),), "frozen": ("0",)}, "rates '0': nothing in it learns at that"),
        ({"frozen": ("0", "1", "6")}, "nothing is left that learns"),
        ({"optimizer": "timm:rmsprotf"}, "timm has no such optimiser; did you mean rmsproptf"),
        ({"optimizer": "timm:adamw", "optimizer_arguments": {"x": 1}}, "timm does not make it"),
        ({"optimizer": "timm:adahessian"}, "needs second derivatives"),
    ):
        with pytest.raises(InputError, match=message):
            Learner(other(run_config, network, **fields), 3, process_group.join())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (OtherNetwork.of("timm:inception_v3", 64), "fails on a batch of 2 of 64 px"),
        (OtherNetwork.of("timm:test_resnet", 64, ("aux",)), "returns 1 outputs in training, and"),
        (OtherNetwork.of("torchvision:mobilenet_v3_small", 32), "fails on a batch of 1 of 32 px"),
        (OtherNetwork.of("timm:test_resnt", 64), "no such model; did you mean test_resnet"),
        (OtherNetwork.of("timm:test_resnet", 64, depth=3), "timm does not make it"),
        (OtherNetwork.of("torchvision:alexnet", 64, depth=3), "torchvision does not make it"),
    ],
)
def test_what_cannot_be_trained_is_one_line(
    run_config: TrainConfig, network: OtherNetwork, message: str
) -> None:
    size = {"max_device_batch_size": 1} if "batch of 1" in message else {}
    with pytest.raises(InputError, match=message):
        Learner(other(run_config, network, **size), 3, process_group.join())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("idle", "do not depend on 0.spare.weight, 0.spare.bias, which could not learn; take"),
        ("dictionary", "fails on .*: returns dict; expected logits, or a tuple of them"),
    ],
)
def test_a_users_network_that_cannot_be_trained_is_one_line(
    run_config: TrainConfig, code: Path, function: str, message: str
) -> None:
    network = OtherNetwork.of(f"{code}:{function}", 32)
    with pytest.raises(InputError, match=message):
        Learner(other(run_config, network), 3, process_group.join())
    if function == "idle":
        Learner(other(run_config, network, frozen=("0.spare",)), 3, process_group.join())


@pytest.mark.parametrize("arch", ["timm:test_resnet", "torchvision:resnet18", "{code}:small"])
def test_a_file_of_weights_tells_its_size_and_pixels(
    tmp_path: Path, code: Path, arch: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are those of the training, not those that the library has for its own."""
    arch, pixels = arch.format(code=code), PixelConfig(mean=(100, 90, 80), std=(50, 51, 52))
    network = OtherNetwork.of(arch, 48)
    file = tmp_path / "w.safetensors"
    note = WeightsNote(network=network, pixels=pixels)
    save_file(network_of(network, 3).state_dict(), file, note.metadata)
    foreign = foreign_config(arch, file).config
    assert (foreign.input_size, foreign.preprocessing) == (48, pixels.preprocessing)
    assert foreign_config(arch, file, input_size=64).config.input_size == 64
    if arch.endswith("small"):
        (tmp_path / "mine.py").write_text(f"{USERS}# another")
        foreign_config(f"{tmp_path}/mine.py:small", file)
        assert "was trained with another version of the file" in capsys.readouterr().err
        with pytest.raises(InputError, match="is of the function small of a file; give --arch"):
            foreign_config(None, file)


@pytest.mark.slow  # a whole study
def test_other_weights_are_fine_tuned(image_folder: Path, tmp_path: Path) -> None:
    """In one command, with parts that stay; the network goes on by its own note."""
    torch.save(timm.create_model("test_resnet", num_classes=7).state_dict(), tmp_path / "w.pth")
    run = in_process(
        *("finetune", image_folder, "--arch", "timm:test_resnet", "--weights", tmp_path / "w.pth"),
        *("--input-size", 48, "--epochs", 2, "--freeze", "conv1", "--freeze", "layer1"),
        *("--root", tmp_path / "root", "--processes", 1),
    )
    assert run.returncode == 0, run.stderr
    assert "3 classes, 24 images for training, 15 for validation" in run.stdout
    assert "48 px, timm:test_resnet, fp32" in run.stdout
    (file,) = tmp_path.glob("root/runs/*/final/raw.safetensors")
    before, after = torch.load(tmp_path / "w.pth"), load_file(file)
    moved = {
        name
        for name, tensor in before.items()
        if tensor.shape != after[name].shape or not torch.equal(tensor, after[name])
    }
    assert {"fc.weight", "layer4.0.conv1.weight"} <= moved
    assert not [name for name in moved if name.startswith(("conv1.", "layer1."))]
    again = in_process(
        *("evaluate", "--weights", file, "--data", image_folder, "--policies", "crops_1"),
        *("--root", tmp_path / "root", "--processes", 1),
    )
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("timm:test_resnet (raw.safetensors) on ")


def test_a_users_file_is_part_of_the_name(run_config: TrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(USERS)
    config = other(run_config, OtherNetwork.of(f"{path}:small"))
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.copy(path, tmp_path / "elsewhere" / "mine.py"))
    assert other(run_config, OtherNetwork.of(f"{moved}:small")).hash == config.hash
    path.write_text(USERS + "# changed")
    assert other(run_config, OtherNetwork.of(f"{path}:small")).hash != config.hash
    with pytest.raises(InputError, match="is no longer the file that the training was defined"):
        network_of(config.network, 3)


def test_recipes_are_whole(data: PrepareConfig) -> None:
    """Each makes its network, and the counts in the docstrings are right."""
    for recipe, count in (
        (family.inception_v2, 7_292_264),
        (family.inception_v3, 27_161_264),
        (family.resnet50, 25_557_032),
    ):
        network = recipe(data).network
        if isinstance(network, NetworkConfig):
            network = network.but(aux_heads=())
        with torch.device("meta"):
            made = network_of(network, 1000)
        assert sum(p.numel() for p in made.parameters()) == count
