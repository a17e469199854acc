"""Stage: a trained network -> its mean probabilities on every validation image.

One pass serves several crop policies.
"""

import sys
from collections.abc import Mapping
from contextlib import closing, nullcontext
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from pipeline.artefacts import locks, sealing
from pipeline.artefacts.contents import EvaluationFacts
from pipeline.artefacts.dataset import Dataset, Split
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.publisher import Publisher
from pipeline.artefacts.run import Run
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.errors import InputError
from pipeline.models import pool
from pipeline.models.classify import scores_of
from pipeline.models.cost import cost_of
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier, foreign_classifier, our_classifier
from pipeline.models.usual import notes
from pipeline.models.weight_files import digest_of_weights
from pipeline.paper.policies import RESNET_DENSE
from pipeline.reporting.cautions import guessing
from pipeline.runtime import device, environment, process_group, variables
from pipeline.runtime.progress import Progress
from pipeline.statistics.chance import against_chance, may_be_guessing
from pipeline.tracking.tracker import Tracker


def evaluate(config: EvaluateConfig, root: Path) -> Predictions:
    """Evaluate on all ranks of the environment.

    Chunks of images that an earlier attempt did are not done again.
    """
    predictions = Predictions(config, root)
    if config.is_complete(root):
        return predictions
    data = Dataset(config.data, root)
    split = data.split("val")
    accelerator = process_group.join(config.precision)
    classifier = _classifier(config, data.num_classes, root)
    engine = _engine(config, classifier, data.num_classes, accelerator)
    with locks.lock(config, root, fences=True) if accelerator.is_main_process else nullcontext():
        _evaluate_share(
            engine, split, range(len(split)), data.num_classes, predictions, accelerator
        )
        accelerator.wait_for_everyone()
        if accelerator.is_main_process and not config.is_complete(root):
            facts = EvaluationFacts(
                num_images=len(split),
                world_size=accelerator.num_processes,
                device=str(accelerator.device),
                num_rejected=data.num_rejected("val"),
                notes=notes(config, classifier.remark) or None,
                **cost_of(classifier.network, classifier.input_size)._asdict(),
            )
            for sentence in facts.notes or ():
                print(f"evaluate: {sentence}", file=sys.stderr)
            bad = predictions.merge(predictions.chunks(), split.image_ids, split.labels, facts)
            for name, reason in bad.items():
                print(f"evaluate: {name}: {reason}; it counts as an error", file=sys.stderr)
            with Tracker(config, root) as tracker:
                hours = sealing.PREDICTIONS.unseal(config, root).core_or_gpu_hours
                figures = {"core_or_gpu_hours": hours}
                chances = []
                for policy in config.policies:
                    rank = predictions.ranks(policy)
                    figures |= {
                        f"{policy}/top{top}_error": float((rank >= top).mean()) for top in (1, 5)
                    }
                    chances.append(against_chance(predictions.scores(policy), split.labels))
                tracker.conclude(figures)
            if all(may_be_guessing(each) for each in chances):
                first = chances[0][0]
                sentence = guessing(config.classifier, len(split), first.hits, first.expected)
                print(f"evaluate: {config.classifier.label}: {sentence}", file=sys.stderr)
    accelerator.wait_for_everyone()
    return predictions


def evaluate_part(config: EvaluateConfig, root: Path, part: int, num_parts: int) -> None:
    """Do the images of one of `num_parts` parts of an evaluation.

    `evaluate` does the rest, and merges all.
    """
    if config.is_complete(root):
        return
    data = Dataset(config.data, root)
    split = data.split("val")
    accelerator = process_group.join(config.precision)
    classifier = _classifier(config, data.num_classes, root)
    engine = _engine(config, classifier, data.num_classes, accelerator)
    images = range(part * len(split) // num_parts, (part + 1) * len(split) // num_parts)
    _evaluate_share(engine, split, images, data.num_classes, Predictions(config, root), accelerator)
    accelerator.wait_for_everyone()


def _engine(
    config: EvaluateConfig, classifier: Classifier, num_classes: int, accelerator: Accelerator
) -> Engine:
    device.refuse_decoding_without_gpu(config.crops.decode_on, accelerator.device.type)
    engine = Engine(classifier, accelerator.device, config.precision, config.compiled)
    engine.refuse_wrong_outputs(num_classes, config.classifier.label)
    if RESNET_DENSE in config.policies:
        engine.refuse_fixed_size(config.classifier.label)
    if (
        accelerator.is_main_process
        and accelerator.device.type == "cpu"
        and isinstance(why := pool.library(), str)
    ):
        print(
            "evaluate: pools and local response norms run more slowly, without our operators:"
            f" {why}",
            file=sys.stderr,
        )
    return engine


def _evaluate_share(
    engine: Engine,
    split: Split,
    images: range,
    num_classes: int,
    predictions: Predictions,
    accelerator: Accelerator,
) -> None:
    """Evaluate this rank's share of those images that no chunk has, as one stream."""
    config = predictions.config
    # the first rank looks for all: to another, a chunk might have come already
    looks = accelerator.is_main_process
    missing = broadcast_object_list([predictions.missing(images) if looks else None])[0]
    mine = np.array_split(missing, accelerator.num_processes)[accelerator.process_index].tolist()
    hardware = device.facts(accelerator.device)
    stream = scores_of(
        engine,
        split,
        mine,
        num_classes,
        config.policies,
        config.crops,
        environment.num_loaders(accelerator.device.type),
    )
    words = _in_words(engine, hardware)
    with (
        Progress(
            f"evaluate {config.hash[:8]}",
            len(mine),
            "images a rank",
            silent=not accelerator.is_main_process,
        ) as progress,
        Publisher(predictions, num_classes, config.images_per_chunk, words, hardware) as publisher,
        closing(stream),
    ):
        for row in stream:
            publisher.add(row)
            progress.advance()
            if publisher.is_over:
                return


def _in_words(engine: Engine, hardware: Mapping[str, str]) -> str:
    """Return in words all that a chunk's last bits depend on.

    Jobs on several machines may share an evaluation.
    """
    environment_words = "".join(f"; {name}={value}" for name, value in variables.recorded().items())
    return f"{engine.description}, on {' '.join(hardware.values())}{environment_words}"


def _classifier(config: EvaluateConfig, num_classes: int, root: Path) -> Classifier:
    """Return the classifier that a config names.

    Raises:
        InputError: the classifier has another number of classes than the data set, or
            its weights do not fit.
    """
    if isinstance(config.classifier, ForeignConfig):
        for path, algorithm, digest in config.classifier.files:
            if path.is_file() and digest_of_weights(path, algorithm) != digest:
                raise InputError(
                    f"{path}: is no longer the file that this evaluation was planned with; run the"
                    " command again"
                )
        return foreign_classifier(config.classifier, num_classes)
    _refuse_other_classes(config, config.classifier.data, root)
    run = Run(config.classifier, root)
    return our_classifier(config.classifier, run.weights(config.weights), num_classes)


def _refuse_other_classes(config: EvaluateConfig, trained: PrepareConfig, root: Path) -> None:
    """Raise InputError if the classes of another data set are not those that a network
    was trained on, in their order.

    Classes that are the numbers 0, 1 ... are its outputs, as in ImageNet-V2.
    """
    if trained == config.data or not trained.is_complete(root):
        return
    own, others = Dataset(trained, root).classes, Dataset(config.data, root).classes
    if others in (own, [str(number) for number in range(len(own))]):
        return
    places = (k for k, (a, b) in enumerate(zip(own, others, strict=False)) if a != b)
    place = next(places, min(len(own), len(others)))
    raise InputError(
        f"data set {config.data.name}: has other classes than {trained.name}, on which the network"
        f" was trained, or another order (the first that differs is number {place}); prepare it"
        " with --classes, or in folders of numbers"
    )
