"""Scores of stored images: open images, cut crops, classify them, pool the scores.

This module knows no artefact but the split that it reads.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from torch import Tensor

from pipeline.artefacts.dataset import Split
from pipeline.configs.evaluate import CropsConfig
from pipeline.images import decode as images
from pipeline.images.planes import Plane, plane_of, planes_of
from pipeline.models.engine import Engine
from pipeline.paper.crops import Crop, scales
from pipeline.paper.policies import CROPS, DENSE, split_policy
from pipeline.paper.pooling import pool
from pipeline.statistics.label_ranks import rank_of_label

Item = TypeVar("Item")
Value = TypeVar("Value")


class OpenImage(NamedTuple):
    """An image that is ready to be cut.

    `crops` are its distinct crops, `members` says which of them each kind of crops
    needs, and crops are cut from `planes`. `problem` says why an image cannot be used;
    such an image has no crops.
    """

    crops: tuple[Crop, ...] = ()
    members: dict[str, list[int]] = {}  # noqa: RUF012 (never changed)
    planes: dict[Plane, np.ndarray] = {}  # noqa: RUF012
    problem: str = ""


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

    `ids` choose the images. Scores are images x classes, float32. A bad image has NaN,
    and the second dictionary holds the reason by id. Each image is decoded once and
    resized once per scale. Each distinct crop is classified once, and every policy
    pools its own crops: a square image has 48 distinct crops among its 144.
    `num_loaders` threads open images ahead.
    """
    kind_and_pooling = {policy: split_policy(policy) for policy in policies}
    kinds = tuple(dict.fromkeys(kind for kind, _ in kind_and_pooling.values()))
    scores = {policy: np.full((len(ids), num_classes), np.nan, np.float32) for policy in policies}
    bad: dict[int, str] = {}
    opened = _ahead(
        lambda index: open_image(split, index, kinds, engine.input_size, config), ids, num_loaders
    )
    for row, (image, probabilities_KC) in enumerate(_classified(engine, opened, num_classes)):
        if image.problem:
            bad[ids[row]] = image.problem
            continue
        for policy, (kind, pooling) in kind_and_pooling.items():
            if kind == DENSE:
                planes = [
                    engine.normalised(image.planes[Plane(scale)])
                    for scale in scales(engine.input_size)
                ]
                scores[policy][row] = engine.dense([*planes, *(plane.flip(1) for plane in planes)])
            else:
                scores[policy][row] = pool(probabilities_KC[image.members[kind]], pooling)
    return scores, bad


def rank_of_labels(
    engine: Engine,
    split: Split,
    ids: Sequence[int],
    num_classes: int,
    config: CropsConfig,
) -> np.ndarray:
    """Return how many classes score above the true one at a single crop, by image."""
    scores, _ = classify(engine, split, ids, num_classes, ("crops_1",), config)
    return rank_of_label(scores["crops_1"], split.labels[np.asarray(ids, np.int64)])


def open_image(
    split: Split, index: int, kinds: Sequence[str], input_size: int, config: CropsConfig
) -> OpenImage:
    """Decode an image and scale it for kinds of crops.

    A kind is a name of `paper.policies.CROPS`, or `dense`.
    """
    encoded = split.encoded(index)
    try:
        image = images.decode(encoded)
    except images.BadImage as error:
        return OpenImage(problem=str(error))
    crops_of_kind = {
        kind: CROPS[kind](image.width, image.height, input_size, config.rules)
        for kind in kinds
        if kind != DENSE
    }
    distinct = {
        crop: k
        for k, crop in enumerate(
            dict.fromkeys(crop for crops in crops_of_kind.values() for crop in crops)
        )
    }
    planes = [plane_of(crop, input_size) for crop in distinct]
    planes += [Plane(scale) for scale in scales(input_size) if DENSE in kinds]
    return OpenImage(
        crops=tuple(distinct),
        members={kind: [distinct[crop] for crop in crops] for kind, crops in crops_of_kind.items()},
        planes=planes_of(image, dict.fromkeys(planes), input_size, config),
    )


def _classified(
    engine: Engine, opened: Iterable[OpenImage], num_classes: int
) -> Iterator[tuple[OpenImage, np.ndarray]]:
    """Yield each image, in order, with the probabilities of its crops (K x classes).

    A batch may hold crops of several images.
    """
    waiting: deque[OpenImage] = deque()

    def crops() -> Iterator[Tensor]:
        for image in opened:
            waiting.append(image)
            yield from cut(engine, image)

    rows_KC = np.empty((0, num_classes), np.float32)
    for batch_NC in engine.classify(crops()):
        rows_KC = np.concatenate((rows_KC, batch_NC))
        while waiting and len(rows_KC) >= (count := len(waiting[0].crops)):
            yield waiting.popleft(), rows_KC[:count]
            rows_KC = rows_KC[count:]
    while waiting:  # images without crops that follow the last batch
        yield waiting.popleft(), rows_KC


def cut(engine: Engine, image: OpenImage) -> Iterator[Tensor]:
    """Yield the crops of an image: views of its normalised planes and their mirrors."""
    side = engine.input_size
    normalised: dict[tuple[Plane, bool], Tensor] = {}
    for crop in image.crops:
        plane = plane_of(crop, side)
        if (plane, False) not in normalised:
            normalised[plane, False] = engine.normalised(image.planes[plane])
        if crop.mirrored and (plane, True) not in normalised:
            normalised[plane, True] = normalised[plane, False].flip(1)
        pixels = normalised[plane, crop.mirrored]
        left, top = (0, 0) if plane.side else (crop.left, crop.top)
        if crop.mirrored:
            left = pixels.shape[1] - left - side
        yield pixels[top : top + side, left : left + side]


def _ahead(
    function: Callable[[Item], Value], items: Iterable[Item], num_threads: int
) -> Iterator[Value]:
    """Map a function over items, in order, with threads that work a few items ahead.

    With 0 threads the caller's thread does the work.
    """
    if not num_threads:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(num_threads) as threads:
        running: deque[Future[Value]] = deque()
        for item in items:
            running.append(threads.submit(function, item))
            if len(running) > 2 * num_threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
