"""The faithful network on real photographs: every way to run it, against a slow
reference written out here.

One way is tried at 224 pixels, the others at 112, where all scales, squares and corners
are half of the paper's: a crop costs a quarter of the time, and the bounds hold
unchanged (at 56 the last map has but four places, whose mean evens out too little). The
photographs are cuts of one that scikit-learn ships. The network has random weights
whose outputs are as decided as a trained one's, since a network that gives every class
1/1000 would pass any tolerance.
"""

import hashlib
import io
from collections.abc import Callable
from functools import cache
from importlib import resources
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from pipeline.artefacts.dataset import Split
from pipeline.artefacts.shards import Record, write_shard
from pipeline.configs.crops import CropsConfig
from pipeline.models.classify import classify
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.initialisation import INITIALISATIONS
from pipeline.paper.preprocessing import PREPROCESSING

POLICIES = ("crops_1", "crops_10", "crops_36", "crops_144", "crops_144_max")
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")
Resize = Callable[[Image.Image, int, int], Image.Image]


@cache
def network(size: int) -> GoogLeNet:
    made = GoogLeNet(1000, size, aux_heads=()).eval()
    INITIALISATIONS["kaiming"](made, torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = made(torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(1)))
        made.classifier.weight *= 4 / logits.std(dim=1).mean()
    return made


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """A landscape, a portrait and a square one."""
    encoded = resources.files("sklearn.datasets").joinpath("images", "china.jpg").read_bytes()
    image = Image.open(io.BytesIO(encoded))
    cuts = [
        image,
        image.rotate(90, expand=True).crop((0, 0, 333, 500)),
        image.crop((100, 0, 500, 400)),
    ]
    records = []
    for number, cut in enumerate(cuts):
        file = io.BytesIO()
        cut.save(file, "PNG")
        content = file.getvalue()
        records.append(
            Record(f"{number}", content, 0, *cut.size, hashlib.sha256(content).hexdigest())
        )
    path = tmp_path_factory.mktemp("photographs") / "val.arrow"
    write_shard(path, ["photograph"], records)
    return Split([path])


@pytest.fixture(scope="module")
def reference(photographs: Split) -> Callable[[int, str], dict[str, np.ndarray]]:
    """PAPER.md 3.1, one crop at a time: a resize for every single crop, torch's own
    layers in float64, nothing shared.
    """
    mean, std = (np.array(v, np.float32) for v in (PREPROCESSING.mean, PREPROCESSING.std))

    @cache
    def by_policy(size: int, library: str) -> dict[str, np.ndarray]:
        slow = GoogLeNet(1000, size, aux_heads=()).eval().double()
        slow.load_state_dict(network(size).state_dict())
        slow.norm1, slow.norm2 = (
            nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0) for _ in range(2)
        )
        found: dict[str, list[np.ndarray]] = {policy: [] for policy in POLICIES}
        for index in PHOTOGRAPHS[size, library]:
            image = Image.open(io.BytesIO(photographs.encoded(index))).convert("RGB")
            rows = []
            for scale, place, view, mirrored in product(
                SCALES[size], range(3), range(6), (False, True)
            ):
                cut = slow_crop(image, size, scale, place, view, RESIZES[library])
                pixels = (
                    np.asarray(cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else cut)
                    - mean
                ) / std
                with torch.no_grad():
                    logits = slow(
                        torch.from_numpy(pixels.transpose(2, 0, 1).copy()).double()[None]
                    )[0]
                rows.append(logits.softmax(0).numpy())
            # the central square at the smallest scale, without the whole square
            central = rows[12:22]
            for policy, chosen in (
                ("crops_1", central[:1]),
                ("crops_10", central),
                ("crops_36", rows[:36]),
            ):
                found[policy].append(np.mean(chosen, axis=0))
            found["crops_144"].append(np.mean(rows, axis=0))
            found["crops_144_max"].append(np.max(rows, axis=0))
        return {policy: np.stack(values) for policy, values in found.items()}

    return by_policy


def pil_resize(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BILINEAR)


def torch_resize(image: Image.Image, width: int, height: int) -> Image.Image:
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    resized = resize(pixels, [height, width], InterpolationMode.BILINEAR, antialias=True)
    return Image.fromarray(resized.permute(1, 2, 0).numpy())


RESIZES = {"pil": pil_resize, "torch": torch_resize}
SCALES = {224: (256, 288, 320, 352), 112: (128, 144, 160, 176)}
PHOTOGRAPHS = {(224, "pil"): [0], (112, "pil"): [1, 2], (112, "torch"): [0]}


def slow_crop(
    image: Image.Image, size: int, scale: int, place: int, view: int, resize: Resize
) -> Image.Image:
    """View 0 is the centre, 1 to 4 the corners, 5 the whole square, of the first,
    middle or last square.
    """
    width, height = image.size
    long_side = max(width, height) * scale // min(width, height)
    offset = (0, (long_side - scale) // 2, long_side - scale)[place]
    sides, corner = (
        ((long_side, scale), (offset, 0)) if width >= height else ((scale, long_side), (0, offset))
    )
    square = resize(image, *sides).crop((*corner, corner[0] + scale, corner[1] + scale))
    if view == 5:
        return resize(square, size, size)
    far = scale - size
    x, y = ((far // 2, far // 2), (0, 0), (far, 0), (0, far), (far, far))[view]
    return square.crop((x, y, x + size, y + size))


# a compiler builds the whole network twice, and the reference takes 144 crops one by
# one
@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "precision", "compiled", "resize", "library", "one_crop", "averaged"),
    [
        (224, "fp32", False, "pil_bilinear", "pil", 1e-6, 1e-6),
        (112, "fp32", True, "pil_bilinear", "pil", 1e-6, 1e-6),
        (112, "fp32", False, "torch_bilinear", "torch", 1e-6, 1e-6),
        # a few pixels differ by one grey level
        (112, "fp32", False, "torch_bilinear", "pil", 2e-4, 1e-4),
        (112, "bf16", False, "torch_bilinear", "torch", 2e-2, 5e-3),
        (112, "bf16", True, "torch_bilinear", "torch", 2e-2, 5e-3),
    ],
)
def test_equals_the_slow_reference(
    photographs: Split,
    reference: Callable[[int, str], dict[str, np.ndarray]],
    size: int,
    precision: str,
    compiled: bool,
    resize: str,
    library: str,
    one_crop: float,
    averaged: float,
) -> None:
    """`one_crop` bounds what depends on a single crop (crops_1, crops_144_max),
    `averaged` the means of 10 to 144.
    """
    engine = Engine(Classifier(network(size), PREPROCESSING, size), CPU, precision, compiled)
    packs = precision == "fp32" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    words = "" if compiled or not packs else ", packed"
    assert engine.description == f"cpu, batches of {12 if size == 224 else 48}{words}, operators"
    expected, config = reference(size, library), CropsConfig.model_validate({"resize": resize})
    scores, bad = classify(engine, photographs, PHOTOGRAPHS[size, library], 1000, POLICIES, config)
    assert not bad
    assert expected["crops_1"].max() > 0.5  # as decided as a trained network
    for policy in POLICIES:
        difference = float(np.abs(scores[policy] - expected[policy]).max())
        print(
            f"{size} {precision} {'compiled' if compiled else 'eager'} {resize} against {library},"
            f" {policy}: {difference:.2g}"
        )
        assert difference < (one_crop if policy in ("crops_1", "crops_144_max") else averaged)
        assert np.array_equal(scores[policy].argmax(1), expected[policy].argmax(1))


def test_the_networks_own_weights_are_untouched() -> None:
    made = network(112)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    Engine(Classifier(made, PREPROCESSING, 112), CPU, "bf16")
    assert all(torch.equal(tensor, before[name]) for name, tensor in made.state_dict().items())
    assert isinstance(made.pool1, nn.MaxPool2d)
