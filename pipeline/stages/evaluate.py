"""Stage: a trained network -> its mean probabilities on every validation image.

One pass serves several crop policies.
"""

import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from accelerate import Accelerator

from pipeline.artefacts import locks, sealing
from pipeline.artefacts.contents import EvaluationFacts
from pipeline.artefacts.dataset import Dataset, Split
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.run import Run
from pipeline.configs.evaluate import EvaluateConfig, ForeignConfig
from pipeline.errors import InputError
from pipeline.models import operators
from pipeline.models.classify import classify
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier, foreign_classifier, our_classifier
from pipeline.models.usual import notes
from pipeline.reporting.cautions import guessing
from pipeline.runtime import device, disk, environment, process_group, variables
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
    chunks = _chunks(config, len(split))
    with locks.lock(config, root, fences=True) if accelerator.is_main_process else nullcontext():
        _evaluate_chunks(engine, split, chunks, data.num_classes, predictions, accelerator)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process and not config.is_complete(root):
            facts = EvaluationFacts(
                num_images=len(split),
                world_size=accelerator.num_processes,
                device=str(accelerator.device),
                num_rejected=data.num_rejected("val"),
                notes=notes(config, classifier.remark) or None,
            )
            for sentence in facts.notes or ():
                print(f"evaluate: {sentence}", file=sys.stderr)
            bad = predictions.merge(chunks, split.image_ids, split.labels, facts)
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
    """Do every `num_parts`-th chunk of an evaluation, from chunk `part` on.

    `evaluate` does the rest, and merges the chunks.
    """
    if config.is_complete(root):
        return
    data = Dataset(config.data, root)
    split = data.split("val")
    accelerator = process_group.join(config.precision)
    classifier = _classifier(config, data.num_classes, root)
    engine = _engine(config, classifier, data.num_classes, accelerator)
    chunks = _chunks(config, len(split))[part::num_parts]
    _evaluate_chunks(
        engine, split, chunks, data.num_classes, Predictions(config, root), accelerator
    )
    accelerator.wait_for_everyone()


def _engine(
    config: EvaluateConfig, classifier: Classifier, num_classes: int, accelerator: Accelerator
) -> Engine:
    engine = Engine(classifier, accelerator.device, config.precision, config.compiled)
    engine.refuse_wrong_outputs(num_classes, config.classifier.label)
    if (
        accelerator.is_main_process
        and accelerator.device.type == "cpu"
        and isinstance(why := operators.library(), str)
    ):
        print(
            "evaluate: pools and local response norms run more slowly, without our operators:"
            f" {why}",
            file=sys.stderr,
        )
    return engine


def _chunks(config: EvaluateConfig, num_images: int) -> list[range]:
    size = config.images_per_chunk
    return [range(k, min(k + size, num_images)) for k in range(0, num_images, size)]


def _evaluate_chunks(
    engine: Engine,
    split: Split,
    chunks: list[range],
    num_classes: int,
    predictions: Predictions,
    accelerator: Accelerator,
) -> None:
    """Evaluate this rank's share of the chunks.

    It passes over chunks that an earlier attempt published.
    """
    config = predictions.config
    num_loaders = environment.cores_per_rank() if accelerator.device.type == "cuda" else 0
    mine = chunks[accelerator.process_index :: accelerator.num_processes]
    hardware = device.facts(accelerator.device)
    computed_by = _in_words(engine, hardware)
    label, total = f"evaluate {config.hash[:8]}", sum(map(len, mine))
    with Progress(
        label, total, "images a rank", silent=not accelerator.is_main_process
    ) as progress:
        for chunk in mine:
            if not predictions.has_chunk(chunk) and not config.is_complete(predictions.root):
                started = time.monotonic()
                scores, bad = classify(
                    engine, split, chunk, num_classes, config.policies, config.crops, num_loaders
                )
                predictions.publish_chunk(
                    chunk, scores, bad, time.monotonic() - started, computed_by, hardware
                )
            progress.advance(len(chunk))


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
            if path.is_file() and disk.digest(path, algorithm) != digest:
                raise InputError(
                    f"{path}: is no longer the file that this evaluation was planned with; run the"
                    " command again"
                )
        return foreign_classifier(config.classifier, num_classes)
    run = Run(config.classifier, root)
    return our_classifier(config.classifier, run.weights(config.weights), num_classes)
