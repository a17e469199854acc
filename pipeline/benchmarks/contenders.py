"""Ways to classify the 144 crops of an image: people's first code, their careful code,
and ours.

Each way is a function of the network that returns a function of one image (its number
-> `Timing`). The peers use Pillow, torchvision and torch alone: no code of ours makes
them faster or slower.
"""

import io
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from pipeline.artefacts.dataset import Split
from pipeline.configs.crops import CropsConfig
from pipeline.models.classify import classify, open_image
from pipeline.models.cutting import Views
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.paper.crops import SCALES
from pipeline.paper.googlenet import GoogLeNet
from pipeline.paper.policies import NUM_CROPS
from pipeline.paper.preprocessing import PREPROCESSING
from pipeline.runtime.environment import ALLOCATOR, PROCESS_ENVIRONMENT, num_loaders

POLICY = ("crops_144",)
STREAMED = 32  # ours: images in a turn of a GPU


class Timing(NamedTuple):
    """The seconds of one image, and its mean probabilities.

    `bound` is the time of the network alone, on the same crops in memory.
    """

    total: float
    preprocessing: float
    probabilities: np.ndarray
    bound: float | None = None


class Contender(NamedTuple):
    """A way to classify, and the environment of its process.

    The peers have the environment of a user, with one thread.
    """

    text: str
    make: Callable[[GoogLeNet, Split, torch.device], Callable[[int], Timing]]
    environment: dict[str, str]
    dtype: torch.dtype = torch.float32


def peer(
    network: GoogLeNet, split: Split, device: torch.device, per_crop: bool, compiled: bool
) -> Callable[[int], Timing]:
    """Classify with what people use: PIL, torchvision's ToTensor and Normalize, torch's
    LocalResponseNorm, one batch of 144 crops in float32 and NCHW.

    With `per_crop` every crop resizes the image again; otherwise each scale and square
    does so once.
    """
    network.norm1, network.norm2 = (
        nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0) for _ in range(2)
    )
    size = network.input_size
    network = network.to(device).to(memory_format=torch.contiguous_format)
    run: Callable[[Tensor], Tensor] = torch.compile(network, dynamic=False) if compiled else network
    mean, std = ([v / 255 for v in values] for values in (PREPROCESSING.mean, PREPROCESSING.std))
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])

    def crops(image: Image.Image) -> Iterable[Image.Image]:
        scaled: dict[int, Image.Image] = {}
        for scale, place in product((s * size // 224 for s in SCALES), range(3)):
            for view, mirrored in product(range(6), (False, True)):
                if per_crop or scale not in scaled:
                    scaled[scale] = _at_scale(image, scale)
                if per_crop or not mirrored:
                    cut = _cut(scaled[scale], scale, place, view, size)
                yield cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else cut

    def classify_one(index: int) -> Timing:
        started = time.perf_counter()
        image = Image.open(io.BytesIO(split.encoded(index))).convert("RGB")
        batch = torch.stack([transform(crop) for crop in crops(image)])
        prepared = time.perf_counter()
        with torch.no_grad():
            probabilities = run(batch.to(device)).softmax(dim=1).mean(dim=0).cpu()
        return Timing(time.perf_counter() - started, prepared - started, probabilities.numpy())

    return classify_one


def _at_scale(image: Image.Image, scale: int) -> Image.Image:
    width, height = image.size
    short = min(width, height)
    return image.resize(
        (width * scale // short, height * scale // short), Image.Resampling.BILINEAR
    )


def _cut(scaled: Image.Image, scale: int, place: int, view: int, size: int) -> Image.Image:
    """Cut a view of the first, middle or last square.

    Views 0 to 4 are the corners and the centre, view 5 is the whole square.
    """
    slack = max(scaled.size) - scale
    offset = (0, slack // 2, slack)[place]
    left, top = (offset, 0) if scaled.width >= scaled.height else (0, offset)
    far = scale - size
    if view == 5:
        return scaled.crop((left, top, left + scale, top + scale)).resize(
            (size, size), Image.Resampling.BILINEAR
        )
    x, y = ((0, 0), (far, 0), (0, far), (far, far), (far // 2, far // 2))[view]
    return scaled.crop((left + x, top + y, left + x + size, top + y + size))


def ours(
    network: GoogLeNet,
    split: Split,
    device: torch.device,
    precision: str,
    compiled: bool,
    resize: str,
) -> Callable[[int], Timing]:
    """Classify with our own code, from the stored bytes to the averaged probabilities.

    A GPU gets a stream of images from several loaders, as in an evaluation.
    """
    size = network.input_size
    engine = Engine(Classifier(network, PREPROCESSING, size), device, precision, compiled)
    config = CropsConfig.model_validate({"resize": resize})
    count, loaders = (STREAMED, num_loaders("cuda")) if device.type == "cuda" else (1, 0)

    def classify_one(index: int) -> Timing:
        ids = [(index + k) % len(split) for k in range(count)]
        started = time.perf_counter()
        scores, _ = classify(
            engine, split, ids, network.classifier.out_features, POLICY, config, loaders
        )
        total = (time.perf_counter() - started) / count

        def batches() -> Iterator[Tensor]:
            image = open_image(split, index, POLICY, size, config)
            return (batch for batch, _ in engine.batches([Views(engine.pixels, image)]))

        started = time.perf_counter()
        for _ in batches():
            pass
        preprocessing = time.perf_counter() - started

        in_memory = [batch.clone() for batch in batches()]
        started = time.perf_counter()
        for batch in in_memory:
            engine.probabilities(batch).cpu().numpy()
        seconds = time.perf_counter() - started
        bound = seconds * NUM_CROPS[POLICY[0]] / (len(in_memory) * engine.batch_size)
        return Timing(total, preprocessing, scores[POLICY[0]][0], bound)

    return classify_one


ONE_THREAD = {"OMP_NUM_THREADS": "1"}
# a peer with our allocator: what is left of a ratio is not the allocator's
SAME_ALLOCATOR = {**ONE_THREAD, **ALLOCATOR}
NAIVE, NAIVE_TUNED = "naive", "naive, malloc"
PEERS = {  # text, per_crop, compiled
    NAIVE: ("144 resizes, eager fp32 NCHW", True, False),
    "careful": ("4 + 12 resizes, eager fp32 NCHW", False, False),
    "careful compiled": (
        "4 + 12 resizes, torch.compile, fp32 NCHW",
        False,
        True,
    ),
}
CONTENDERS = {
    **{
        name + suffix: Contender(
            text + words, partial(peer, per_crop=per_crop, compiled=compiled), environment
        )
        for name, (text, per_crop, compiled) in PEERS.items()
        for suffix, words, environment in (
            ("", "", ONE_THREAD),
            (", malloc", ", with our settings of the allocator", SAME_ALLOCATOR),
        )
    },
    **{
        f"ours {precision}{' compiled' if compiled else ''}": Contender(
            f"{'torch.compile' if compiled else 'eager'}, {resize}",
            partial(ours, precision=precision, compiled=compiled, resize=resize),
            PROCESS_ENVIRONMENT,
            torch.bfloat16 if precision == "bf16" else torch.float32,
        )
        for precision, resize in (("fp32", "pil_bilinear"), ("bf16", "torch_bilinear"))
        for compiled in (False, True)
    },
}


PEAK = "peak"
# ours: channels and side of 3x3 convolutions that run at full speed
PEAK_LAYERS = ((128, 28), (256, 14), (512, 14))


def conv_peaks(_: int, device: torch.device | str = "cpu") -> dict[str, float]:
    """Measure the peak of a core or a GPU by type, in FLOP/s.

    It is the speed of the fastest of a few well-shaped convolutions, channels last.
    """
    return {
        str(dtype): max(conv_speed(dtype, *layer, device) for layer in PEAK_LAYERS)
        for dtype in (torch.float32, torch.bfloat16)
    }


@torch.no_grad()
def conv_speed(
    dtype: torch.dtype, channels: int, side: int, device: torch.device | str = "cpu"
) -> float:
    """Return the FLOP/s of a convolution, of a batch that fills the device."""
    is_cuda = torch.device(device).type == "cuda"
    conv = nn.Conv2d(channels, channels, 3, padding=1).to(device, dtype)
    conv = conv.to(memory_format=torch.channels_last)
    x = torch.randn(256 if is_cuda else 12, channels, side, side).to(device, dtype)
    x = x.to(memory_format=torch.channels_last)
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        y = conv(x)
        if is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    flop: int = 2 * 9 * channels * y.numel()
    return flop / float(np.median(seconds[1:]))
