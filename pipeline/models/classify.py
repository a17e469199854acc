"""Scores of stored images: open images, cut crops, classify them, pool the scores.

This module knows no artefact but the split that it reads.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from pipeline.artefacts.dataset import Split
from pipeline.configs.crops import CropsConfig
from pipeline.images import decode as images
from pipeline.images import on_device
from pipeline.images.planes import Plane, Raster, plane_of, planes_of
from pipeline.models.cutting import Crops, Gathered, OpenImage, Packed, Views, pack
from pipeline.models.engine import Engine, classify_crops
from pipeline.paper.policies import CROPS, NUM_CROPS, WHOLE, split_policy
from pipeline.paper.pooling import pool
from pipeline.statistics.label_ranks import rank_of_label

Item = TypeVar("Item")
Value = TypeVar("Value")
# ours: crops that go to a device at once, so that one crop an image costs no copy each
PACKED_CROPS = 32
HOST = torch.device("cpu")


class Opened(NamedTuple):
    """Open images, and their planes packed for a device; None for a CPU."""

    images: list[OpenImage]
    packed: Packed | None


def classify(
    engine: Engine,
    split: Split,
    ids: Sequence[int],
    num_classes: int,
    policies: Sequence[str],
    config: CropsConfig,
    num_loaders: int = 0,
) -> tuple[dict[str, np.ndarray], dict[int, str]]:
    """Return the scores of images by policy, and what is wrong with bad images.

    Scores are images x classes, float32. A bad image has NaN, and the second dictionary
    holds the reason by id. The arguments are those of `scores_of`.
    """
    scores = {policy: np.full((len(ids), num_classes), np.nan, np.float32) for policy in policies}
    bad: dict[int, str] = {}
    stream = scores_of(engine, split, ids, num_classes, policies, config, num_loaders)
    for row, (index, of_image, problem) in enumerate(stream):
        if problem:
            bad[index] = problem
        for policy, values in of_image.items():
            scores[policy][row] = values
    return scores, bad


def scores_of(
    engine: Engine,
    split: Split,
    ids: Sequence[int],
    num_classes: int,
    policies: Sequence[str],
    config: CropsConfig,
    num_loaders: int = 0,
) -> Generator[tuple[int, dict[str, np.ndarray], str]]:
    """Yield images in the order of `ids`: id, scores by policy, and what is wrong.

    A bad image has no scores. Each image is decoded once and resized once per scale.
    Each distinct crop is classified once, and every policy pools its own crops: a
    square image has 48 distinct crops among its 144. `num_loaders` threads open images
    ahead; an image comes some batches after it was opened.
    """
    kind_and_pooling = {policy: split_policy(policy) for policy in policies}
    kinds = tuple(dict.fromkeys(kind for kind, _ in kind_and_pooling.values()))
    stream = _classified([engine], split, ids, num_classes, kinds, config, num_loaders)
    for index, (image, probabilities_EKC) in zip(ids, stream, strict=True):
        scores: dict[str, np.ndarray] = {}
        for policy, (kind, pooling) in kind_and_pooling.items():
            if image.problem:
                continue
            if kind in WHOLE:
                planes = [
                    engine.pixels.normalised(image.planes[Plane(scale)])
                    for scale in WHOLE[kind](engine.input_size)
                ]
                both = [*planes, *(plane.flip(1) for plane in planes)]
                scores[policy] = engine.on_whole_images(kind, both)
            else:
                scores[policy] = pool(probabilities_EKC[0, image.members[kind]], pooling)
        yield index, scores, image.problem


def rank_of_labels(
    engines: Sequence[Engine],
    split: Split,
    ids: Sequence[int],
    num_classes: int,
    config: CropsConfig,
    num_loaders: int = 0,
) -> np.ndarray:
    """Return how many classes score above the true one at a single crop: engines x
    images.

    Each image is opened and cut once. The engines have the same input.
    """
    scores_ENC = np.full((len(engines), len(ids), num_classes), np.nan, np.float32)
    stream = _classified(engines, split, ids, num_classes, ("crops_1",), config, num_loaders)
    for row, (image, probabilities_EKC) in enumerate(stream):
        if not image.problem:
            scores_ENC[:, row] = probabilities_EKC[:, 0]
    labels = split.labels[np.asarray(ids, np.int64)]
    return np.stack([rank_of_label(scores_NC, labels) for scores_NC in scores_ENC])


def open_image(
    split: Split,
    index: int,
    kinds: Sequence[str],
    input_size: int,
    config: CropsConfig,
    device: torch.device = HOST,
) -> OpenImage:
    """Decode an image and scale it for kinds of crops, on the host or, where the config
    says so, on a device.

    A kind is one of `paper.policies.KINDS`.
    """
    encoded = split.encoded(index)
    pixels: Raster
    try:
        if config.decode_on == "device":
            (pixels,) = on_device.decode([encoded], device)
        else:
            pixels = np.array(images.decode(encoded))
    except images.BadImage as error:
        return OpenImage(problem=str(error))
    height, width = pixels.shape[:2]
    crops_of_kind = {
        kind: CROPS[kind](width, height, input_size, config.rules)
        for kind in kinds
        if kind in CROPS
    }
    distinct = {
        crop: k
        for k, crop in enumerate(
            dict.fromkeys(crop for crops in crops_of_kind.values() for crop in crops)
        )
    }
    planes = [plane_of(crop, input_size) for crop in distinct]
    planes += [Plane(scale) for kind in kinds if kind in WHOLE for scale in WHOLE[kind](input_size)]
    return OpenImage(
        crops=tuple(distinct),
        members={kind: [distinct[crop] for crop in crops] for kind, crops in crops_of_kind.items()},
        planes=planes_of(pixels, dict.fromkeys(planes), input_size, config),
    )


def _classified(
    engines: Sequence[Engine],
    split: Split,
    ids: Sequence[int],
    num_classes: int,
    kinds: Sequence[str],
    config: CropsConfig,
    num_loaders: int,
) -> Iterator[tuple[OpenImage, np.ndarray]]:
    """Yield each image, in order, with the probabilities of its crops (engines x K x
    classes).

    A batch may hold crops of several images.
    """
    waiting: deque[OpenImage] = deque()

    def crops() -> Iterator[Crops]:
        for some, packed in _opened(engines[0], split, ids, kinds, config, num_loaders):
            waiting.extend(some)
            if packed is None:
                yield from (Views(engines[0].pixels, image) for image in some)
            else:
                yield Gathered(engines[0].pixels, packed)

    rows_EKC = np.empty((len(engines), 0, num_classes), np.float32)
    for batch_ENC in classify_crops(engines, crops()):
        rows_EKC = np.concatenate((rows_EKC, batch_ENC), axis=1)
        while waiting and rows_EKC.shape[1] >= (count := len(waiting[0].crops)):
            yield waiting.popleft(), rows_EKC[:, :count]
            rows_EKC = rows_EKC[:, count:]
    while waiting:  # images without crops that follow the last batch
        yield waiting.popleft(), rows_EKC


def _opened(
    engine: Engine,
    split: Split,
    ids: Sequence[int],
    kinds: Sequence[str],
    config: CropsConfig,
    num_loaders: int,
) -> Iterator[Opened]:
    """Open images ahead: one by one for a CPU, some at a time for another device."""
    is_packed = engine.device.type != "cpu" and not WHOLE.keys() >= set(kinds)
    crops = max((NUM_CROPS[kind] for kind in kinds if kind in CROPS), default=PACKED_CROPS)
    size = max(1, PACKED_CROPS // crops) if is_packed else 1

    def open_some(first: int) -> Opened:
        some = [
            open_image(split, index, kinds, engine.input_size, config, engine.device)
            for index in ids[first : first + size]
        ]
        if not is_packed:
            return Opened(some, None)
        packed = pack(some, engine.input_size, engine.device.type == "cuda")
        if WHOLE.keys().isdisjoint(kinds):  # the packed bytes are enough
            some = [image._replace(planes={}) for image in some]
        return Opened(some, packed)

    return _ahead(open_some, range(0, len(ids), size), num_loaders)


def _ahead(
    function: Callable[[Item], Value], items: Iterable[Item], num_threads: int
) -> Iterator[Value]:
    """Map a function over items, in order, with threads that work a few items ahead.

    With 0 threads the caller's thread does the work.
    """
    if not num_threads:
        yield from map(function, items)
        return
    threads = ThreadPoolExecutor(num_threads)
    try:
        running: deque[Future[Value]] = deque()
        for item in items:
            running.append(threads.submit(function, item))
            if len(running) > 2 * num_threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        threads.shutdown(cancel_futures=True)
