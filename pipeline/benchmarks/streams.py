"""How much of a device's rate evaluation and validation reach: a stand-in device
computes nothing, takes a fixed time for each crop, and leaves the processor free.

Its tensors are torch's `meta`: the host does all that it does for a GPU (open, pack,
enqueue, read back, pool, save), and no pixel is computed. The images are tiny, because
the cores of this machine must open them at the rate of the device.
"""

import hashlib
import io
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.artefacts.dataset import Split
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.publisher import Publisher
from pipeline.artefacts.shards import Record, write_shard
from pipeline.configs.crops import CropsConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.models.classify import rank_of_labels, scores_of
from pipeline.models.engine import Engine
from pipeline.models.fast_network import GPU_BATCH
from pipeline.models.loading import Classifier
from pipeline.paper.policies import NUM_CROPS
from pipeline.paper.preprocessing import Preprocessing
from pipeline.runtime import environment

SIDE, WIDTH, HEIGHT = 28, 48, 36  # ours: opened by one core at the rates below
CLASSES, BATCH = 1000, GPU_BATCH
DISTINCT = 64  # ours: images; they come again and again
SECONDS = 3.0  # ours: of the device, for one measurement
# ours: crops a second. An H100 is expected to classify some 20,000; with fewer crops an
# image, two cores cannot open so many images.
RATES = {"crops_144": 20_000.0, "crops_10": 6_000.0, "crops_1": 1_500.0}


class StandIn(Engine):
    """A device of a fixed rate; the probabilities of all crops are the same."""

    def __init__(self, rate: float):
        any_pixels = Preprocessing(mean=(0, 0, 0), std=(1, 1, 1))
        super().__init__(Classifier(nn.Identity(), any_pixels, SIDE), torch.device("meta"))
        self.rate, self._free_at = rate, 0.0
        self._rows = np.full((BATCH, CLASSES), 1 / CLASSES, np.float32)

    def start(self, batch_NHWC: Tensor) -> Callable[[], np.ndarray]:
        """Occupy the device for the time of a batch, behind the batches before it."""
        now = time.perf_counter()
        done = self._free_at = max(now, self._free_at) + len(batch_NHWC) / self.rate

        def read() -> np.ndarray:
            time.sleep(max(0.0, done - time.perf_counter()))
            return self._rows

        return read


class Share(NamedTuple):
    """What a stream reached: images a second, and its share of the device's crops a
    second.
    """

    what: str
    rate: float
    images_per_second: float
    share: float

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.share:.1%} of {self.rate:,.0f} crops/s,"
            f" {self.images_per_second:,.0f} images/s"
        )


def measure(rounds: int, seconds: float = SECONDS) -> list[Share]:
    """Return the shares of evaluation by crops an image, and of validation: the best of
    some rounds, because other work of the machine can only lower them.

    Validation runs two networks at one crop an image.
    """
    torch.set_num_threads(1)
    num_loaders = max(1, environment.num_loaders("cpu"))  # the last core is the caller's
    with tempfile.TemporaryDirectory() as folder:
        list(_round(Path(folder), num_loaders, 0.1))  # loads what torch loads late
        shares = [
            share for _ in range(rounds) for share in _round(Path(folder), num_loaders, seconds)
        ]
    names = dict.fromkeys(share.what for share in shares)
    return [max((s for s in shares if s.what == what), key=lambda s: s.share) for what in names]


def _round(folder: Path, num_loaders: int, seconds: float) -> Iterator[Share]:
    for policy, rate in RATES.items():
        crops = NUM_CROPS[policy]
        whole = BATCH // math.gcd(BATCH, crops)  # images that fill whole batches
        split = _split(folder, whole * max(1, round(seconds * rate / crops / whole)))
        started = time.perf_counter()
        _evaluate(split, policy, StandIn(rate), folder, num_loaders)
        yield _share(f"evaluation, {policy}", rate, crops, split, started)
        shutil.rmtree(folder / "predictions")
    device = StandIn(rate)
    started = time.perf_counter()
    rank_of_labels([device, device], split, range(len(split)), CLASSES, CropsConfig(), num_loaders)
    yield _share("validation, two networks", rate, 2, split, started)


def _share(what: str, rate: float, crops: int, split: Split, started: float) -> Share:
    speed = len(split) / (time.perf_counter() - started)
    return Share(what, rate, speed, speed * crops / rate)


class _Scratch(Predictions):
    _inputs_digest = "benchmark"  # nothing was prepared


def _evaluate(split: Split, policy: str, engine: StandIn, root: Path, num_loaders: int) -> None:
    """Evaluate as the stage does, chunks included."""
    data = PrepareConfig(source="imagefolder", name="stand_in", path=root)
    config = EvaluateConfig(
        data=data, classifier=TrainConfig(data=data, num_epochs=1), policies=(policy,)
    )
    ids = range(len(split))
    stream = scores_of(engine, split, ids, CLASSES, (policy,), config.crops, num_loaders)
    with Publisher(_Scratch(config, root), CLASSES, config.images_per_chunk, "", {}) as publisher:
        for row in stream:
            publisher.add(row)


def _split(folder: Path, num_images: int) -> Split:
    """Return a split of JPEGs of coarse noise."""
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(DISTINCT):
        file = io.BytesIO()
        pixels = rng.integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((WIDTH, HEIGHT)).save(file, "JPEG")
        encoded.append(file.getvalue())
    records = (
        Record(str(k), image, 0, WIDTH, HEIGHT, hashlib.sha256(image).hexdigest())
        for k, image in enumerate(encoded[k % DISTINCT] for k in range(num_images))
    )
    path = folder / f"{num_images}.arrow"
    write_shard(path, ["noise"], records)
    return Split([path])
