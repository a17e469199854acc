"""Stage: a trained network -> its mean probabilities on every validation image, for several crop policies in one pass."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from pipeline.adapters import images, ranks
from pipeline.adapters.classifiers import Classifier, foreign_classifier, our_classifier
from pipeline.adapters.progress import Progress
from pipeline.adapters.tracking import Tracker
from pipeline.artefacts import storage
from pipeline.artefacts.dataset import Dataset, Split
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.run import Run
from pipeline.paper import crops
from pipeline.paper.googlenet import normalise
from pipeline.paper.statistics import rank_of_label
from pipeline.study import EvaluateConfig, ForeignConfig, InputError

BATCH = 48  # ours: divides 144, and the batch shape never changes, so neither do the bits
CHUNK = 32  # ours: images between two saves


def evaluate(config: EvaluateConfig, root: Path) -> Predictions:
    """Evaluate on all ranks of the environment. Chunks of images already done are not done again."""
    predictions = Predictions(config, root)
    if config.is_complete(root):
        return predictions
    data = Dataset(config.data, root)
    split = data.split("val")
    accelerator = ranks.start()
    classifier = _classifier(config, data.num_classes, root).to(accelerator.device)

    chunks = [range(k, min(k + CHUNK, len(split))) for k in range(0, len(split), CHUNK)]
    with storage.lock(config, root) if accelerator.is_main_process else nullcontext():
        _evaluate_chunks(classifier, split, chunks, predictions, accelerator)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            facts = {
                "num_images": len(split),
                "world_size": accelerator.num_processes,
                "device": str(accelerator.device),
            }
            predictions.merge(len(chunks), split.image_ids, split.labels, facts)
            with Tracker(config, root) as tracker:
                for policy in config.policies:
                    rank = rank_of_label(predictions.probabilities(policy), split.labels)
                    tracker.summarise({f"{policy}/top{top}_error": float((rank >= top).mean()) for top in (1, 5)})
    accelerator.wait_for_everyone()
    return predictions


def _evaluate_chunks(
    classifier: Classifier, split: Split, chunks: list[range], predictions: Predictions, accelerator: Accelerator
) -> None:
    """This rank's share of the chunks, except those that an earlier attempt published."""
    config = predictions.config
    mine = range(accelerator.process_index, len(chunks), accelerator.num_processes)
    label, total = f"evaluate {config.hash[:8]}", sum(len(chunks[k]) for k in mine)
    with Progress(label, total, "images a rank", silent=not accelerator.is_main_process) as progress:
        for chunk in mine:
            if not predictions.has_chunk(chunk):
                started = time.monotonic()
                probabilities = classify(classifier, split, chunks[chunk], config.policies, config.precision)
                predictions.publish_chunk(chunk, chunks[chunk], probabilities, time.monotonic() - started)
            progress.advance(len(chunks[chunk]))


def _classifier(config: EvaluateConfig, num_classes: int, root: Path) -> Classifier:
    """The classifier that a config names.

    Raises:
        InputError: it gives another number of classes than the data set has, or its weights do not fit.
    """
    if isinstance(config.classifier, ForeignConfig):
        path = config.classifier.weights
        if path.is_file() and storage.sha256(path) != config.classifier.sha256:
            raise InputError(f"{path}: is no longer the file that this evaluation was planned with; run the command again")
        return foreign_classifier(config.classifier, num_classes)
    run = Run(config.classifier, root)
    return our_classifier(config.classifier.network, run.weights(config.weights), num_classes)


def classify(
    classifier: Classifier, split: Split, ids: Sequence[int], policies: Sequence[str], precision: str
) -> dict[str, np.ndarray]:
    """Mean softmax probabilities of the images `ids` by policy: images x classes, float32.

    Each image is decoded once, each distinct crop is classified once, and every policy averages its own crops. The crops
    run in batches of one fixed shape.
    """
    means: dict[str, list[np.ndarray]] = {policy: [] for policy in policies}
    plans: list[list[list[int]]] = []

    def distinct_crops() -> Iterator[np.ndarray]:
        for index in ids:
            image = images.decode(split.encoded(index))
            wanted = [crops.POLICIES[policy](image.width, image.height, classifier.input_size) for policy in policies]
            distinct = {crop: k for k, crop in enumerate(dict.fromkeys(crop for policy in wanted for crop in policy))}
            plans.append([[distinct[crop] for crop in policy] for policy in wanted])
            yield images.cut_crops(image, list(distinct), classifier.input_size)

    pending = np.empty((0, 0), np.float32)
    for probabilities_NC in _in_batches(classifier, distinct_crops(), precision):
        pending = np.concatenate((pending, probabilities_NC)) if len(pending) else probabilities_NC
        while plans and len(pending) > (last := max(max(plan) for plan in plans[0])):
            for policy, chosen in zip(policies, plans.pop(0), strict=True):
                means[policy].append(pending[chosen].mean(axis=0))
            pending = pending[last + 1 :]
    return {policy: np.stack(values) for policy, values in means.items()}


def rank_of_labels(classifier: Classifier, split: Split, ids: Sequence[int], precision: str) -> np.ndarray:
    """How many classes score above the true one at a single crop, for each of the images `ids`."""
    if not ids:
        return np.empty(0, np.int64)
    probabilities = classify(classifier, split, ids, ("crops_1",), precision)["crops_1"]
    return rank_of_label(probabilities, split.labels[np.asarray(ids)])


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context in which a network runs at a precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


@torch.inference_mode()
def _in_batches(classifier: Classifier, crops_KHWC: Iterable[np.ndarray], precision: str) -> Iterator[np.ndarray]:
    """Probabilities of a stream of crops, batch by batch; the last batch is filled up with black crops and cut again."""
    batch = np.zeros((BATCH, classifier.input_size, classifier.input_size, 3), np.uint8)
    filled = 0

    def probabilities() -> np.ndarray:
        pixels = torch.from_numpy(batch).to(classifier.device)
        with autocast(classifier.device, precision):
            logits = classifier.network(normalise(pixels, classifier.preprocessing))
        values: np.ndarray = logits.float().softmax(dim=1)[:filled].cpu().numpy()
        return values

    for pixels in crops_KHWC:
        while len(pixels):
            taken = pixels[: BATCH - filled]
            batch[filled : filled + len(taken)] = taken
            filled, pixels = filled + len(taken), pixels[len(taken) :]
            if filled == BATCH:
                yield probabilities()
                filled = 0
    if filled:
        batch[filled:] = 0
        yield probabilities()
