"""Stage: a trained network -> its mean probabilities on every validation image, for several crop policies in one pass."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from accelerate import Accelerator
from torch import Tensor

from pipeline.adapters import images, ranks
from pipeline.adapters.classifiers import Classifier, foreign_classifier, our_classifier
from pipeline.adapters.engine import Engine
from pipeline.adapters.images import Plane
from pipeline.adapters.progress import Progress
from pipeline.adapters.tracking import Tracker
from pipeline.artefacts import storage
from pipeline.artefacts.dataset import Dataset, Split
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.run import Run
from pipeline.paper.crops import CROPS, DENSE, Crop, pool, scales, split_policy
from pipeline.paper.statistics import rank_of_label
from pipeline.study import CropsConfig, EvaluateConfig, ForeignConfig, InputError

Item = TypeVar("Item")
Value = TypeVar("Value")


def evaluate(config: EvaluateConfig, root: Path) -> Predictions:
    """Evaluate on all ranks of the environment. Chunks of images already done are not done again."""
    predictions = Predictions(config, root)
    if config.is_complete(root):
        return predictions
    data = Dataset(config.data, root)
    split = data.split("val")
    accelerator = ranks.start()
    classifier = _classifier(config, data.num_classes, root)
    engine = Engine(classifier, accelerator.device, config.precision, config.compiled)

    size = config.images_per_chunk
    chunks = [range(k, min(k + size, len(split))) for k in range(0, len(split), size)]
    with storage.lock(config, root) if accelerator.is_main_process else nullcontext():
        _evaluate_chunks(engine, split, chunks, data.num_classes, predictions, accelerator)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            facts = {
                "num_images": len(split),
                "world_size": accelerator.num_processes,
                "device": str(accelerator.device),
                "operators": engine.operators,
                "num_rejected": data.num_rejected("val"),
            }
            predictions.merge(chunks, split.image_ids, split.labels, facts)
            with Tracker(config, root) as tracker:
                for policy in config.policies:
                    rank = rank_of_label(predictions.probabilities(policy), split.labels)
                    tracker.summarise({f"{policy}/top{top}_error": float((rank >= top).mean()) for top in (1, 5)})
    accelerator.wait_for_everyone()
    return predictions


def _evaluate_chunks(
    engine: Engine,
    split: Split,
    chunks: list[range],
    num_classes: int,
    predictions: Predictions,
    accelerator: Accelerator,
) -> None:
    """This rank's share of the chunks, except those that an earlier attempt published."""
    config = predictions.config
    num_loaders = ranks.cores_per_rank() if accelerator.device.type == "cuda" else 0
    mine = chunks[accelerator.process_index :: accelerator.num_processes]
    label, total = f"evaluate {config.hash[:8]}", sum(map(len, mine))
    with Progress(label, total, "images a rank", silent=not accelerator.is_main_process) as progress:
        for chunk in mine:
            if not predictions.has_chunk(chunk):
                started = time.monotonic()
                scores, bad = classify(engine, split, chunk, num_classes, config.policies, config.crops, num_loaders)
                for index, reason in bad.items():
                    progress.say(f"{split.image_ids[index]}: {reason}; it counts as an error")
                predictions.publish_chunk(chunk, scores, bad, time.monotonic() - started)
            progress.advance(len(chunk))


def _classifier(config: EvaluateConfig, num_classes: int, root: Path) -> Classifier:
    """The classifier that a config names.

    Raises:
        InputError: it gives another number of classes than the data set has, or its weights do not fit.
    """
    if isinstance(config.classifier, ForeignConfig):
        for path, digest in config.classifier.files:
            if path.is_file() and storage.sha256(path) != digest:
                raise InputError(f"{path}: is no longer the file that this evaluation was planned with; run the command again")
        return foreign_classifier(config.classifier, num_classes)
    run = Run(config.classifier, root)
    return our_classifier(config.classifier.network, run.weights(config.weights), num_classes)


class _Image(NamedTuple):
    """An image ready to be cut: its distinct crops, which of them each kind of crops wants, and the planes they are cut from.

    `problem` says why it cannot be used, if so; then there is nothing to cut.
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
    """Scores of the images `ids` by policy (images x classes, float32), and by id the reason why an image has none (NaN).

    Each image is decoded once and resized once per scale, each distinct crop is classified once, and every policy pools its
    own crops: of a square image 48 crops stand for 144. `num_loaders` threads open images ahead.

    Raises:
        InputError: the classifier gives another number of classes.
    """
    wanted = {policy: split_policy(policy) for policy in policies}
    kinds = tuple(dict.fromkeys(kind for kind, _ in wanted.values()))
    scores = {policy: np.full((len(ids), num_classes), np.nan, np.float32) for policy in policies}
    bad: dict[int, str] = {}
    opened = _ahead(lambda index: _open(split, index, kinds, engine.input_size, config), ids, num_loaders)
    for row, (image, probabilities_KC) in enumerate(_classified(engine, opened, num_classes)):
        if image.problem:
            bad[ids[row]] = image.problem
            continue
        for policy, (kind, pooling) in wanted.items():
            if kind == DENSE:
                planes = [engine.normalised(image.planes[Plane(scale)]) for scale in scales(engine.input_size)]
                scores[policy][row] = engine.dense([*planes, *(plane.flip(1) for plane in planes)])
            else:
                scores[policy][row] = pool(probabilities_KC[image.members[kind]], pooling)
    return scores, bad


def rank_of_labels(engine: Engine, split: Split, ids: Sequence[int], num_classes: int) -> np.ndarray:
    """How many classes score above the true one at a single crop, for each of the images `ids`."""
    scores, _ = classify(engine, split, ids, num_classes, ("crops_1",), CropsConfig())
    return rank_of_label(scores["crops_1"], split.labels[np.asarray(ids, np.int64)])


def _open(split: Split, index: int, kinds: Sequence[str], input_size: int, config: CropsConfig) -> _Image:
    encoded = split.encoded(index)
    if hashlib.sha256(encoded).hexdigest() != split.sha256(index):
        return _Image(problem="its bytes are not those that were prepared (SHA-256 differs)")
    try:
        image = images.decode(encoded)
    except images.BadImage as error:
        return _Image(problem=str(error))
    wanted = {kind: CROPS[kind](image.width, image.height, input_size, config.rules) for kind in kinds if kind != DENSE}
    distinct = {crop: k for k, crop in enumerate(dict.fromkeys(crop for crops in wanted.values() for crop in crops))}
    planes = [images.plane_of(crop, input_size) for crop in distinct]
    planes += [Plane(scale) for scale in scales(input_size) if DENSE in kinds]
    return _Image(
        crops=tuple(distinct),
        members={kind: [distinct[crop] for crop in crops] for kind, crops in wanted.items()},
        planes=images.planes(image, dict.fromkeys(planes), input_size, config),
    )


def _classified(engine: Engine, opened: Iterable[_Image], num_classes: int) -> Iterator[tuple[_Image, np.ndarray]]:
    """Each image with the probabilities of its crops (K x classes), in order. Batches run across images."""
    waiting: deque[_Image] = deque()

    def crops() -> Iterator[Tensor]:
        for image in opened:
            waiting.append(image)
            yield from _cut(engine, image)

    rows_KC = np.empty((0, num_classes), np.float32)
    for batch_NC in engine.classify(crops()):
        if batch_NC.shape[1] != num_classes:
            raise InputError(f"the classifier gives {batch_NC.shape[1]} classes; the data set has {num_classes}")
        rows_KC = np.concatenate((rows_KC, batch_NC))
        while waiting and len(rows_KC) >= (count := len(waiting[0].crops)):
            yield waiting.popleft(), rows_KC[:count]
            rows_KC = rows_KC[count:]
    while waiting:  # images without crops behind the last batch
        yield waiting.popleft(), rows_KC


def _cut(engine: Engine, image: _Image) -> Iterator[Tensor]:
    """The crops of an image, as views of its normalised planes and of their mirror images."""
    side = engine.input_size
    normalised: dict[tuple[Plane, bool], Tensor] = {}
    for crop in image.crops:
        plane = images.plane_of(crop, side)
        if (plane, False) not in normalised:
            normalised[plane, False] = engine.normalised(image.planes[plane])
        if crop.mirrored and (plane, True) not in normalised:
            normalised[plane, True] = normalised[plane, False].flip(1)
        pixels = normalised[plane, crop.mirrored]
        left, top = (0, 0) if plane.side else (crop.left, crop.top)
        if crop.mirrored:
            left = pixels.shape[1] - left - side
        yield pixels[top : top + side, left : left + side]


def _ahead(function: Callable[[Item], Value], items: Iterable[Item], num_threads: int) -> Iterator[Value]:
    """`map`, in order, with threads that work ahead by a few items; without threads where there are none."""
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
