"""A study as large as Table 3 on ILSVRC-2012, with content that is made up.

Its archives hold images of 8 x 8 pixels, its trainings rows of metrics and no weights,
its evaluations chunks of scores.
"""

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from pipeline.artefacts import sealing
from pipeline.artefacts.contents import EvaluationFacts, RunFacts, Validation
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.metrics import columns_of, metrics_path
from pipeline.artefacts.predictions import Predictions
from pipeline.configs.compare import comparison, table3
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import DEVKIT, ILSVRC2012_IMAGES, TRAIN, VAL, PrepareConfig
from pipeline.configs.recipes import paper, seven_members
from pipeline.configs.study import CheckConfig, Study
from pipeline.configs.train import TrainConfig
from pipeline.training.cadence import Cadence

CLASSES = 1000
CHUNK = 32  # images, as the evaluation stores them
LEAD = 9.0  # ours: so much likelier is the label; some tenth of the images is a mistake
EXPERIMENT = """from pathlib import Path

from pipeline.benchmarks.synthetic import full_study


def experiment():
    return full_study(Path("{}"), {})
"""
ERRORS = Validation(
    top1_error_raw=0.3, top5_error_raw=0.1, top1_error_averaged=0.3, top5_error_averaged=0.1
)


def full_study(folder: Path, epochs: float) -> Study:
    """Return Table 3 on the archives in a folder, and a comparison of ensembles."""
    images = PrepareConfig(source="ilsvrc2012", name="made-up", path=folder, trust_archives=True)
    members = tuple(
        EvaluateConfig(data=images, classifier=run)
        for run in seven_members(paper(images, epochs), 7)
    )
    halves = {"first": members[:3], "second": members[3:6]}
    return Study(
        name="full-scale",
        title="Artefacts of full size, made up",
        check=CheckConfig(results=table3(members)),
        comparisons=(comparison("Which half?", halves, "crops_144", models=2),),
    )


def write_archives(folder: Path, num_train: int, num_val: int) -> None:
    """Write the three archives of ILSVRC-2012, with so many images."""
    folder.mkdir(parents=True)
    images = _images()
    with (folder / TRAIN).open("wb") as file:
        for label in range(CLASSES):
            count = (num_train * (label + 1)) // CLASSES - (num_train * label) // CLASSES
            inner = io.BytesIO()
            for number in range(count):
                _add(inner, f"{_wnid(label)}_{number}.JPEG", next(images))
            _end(inner)
            _add(file, f"{_wnid(label)}.tar", inner.getvalue())
        _end(file)
    with (folder / VAL).open("wb") as file:
        for number in range(num_val):
            _add(file, f"ILSVRC2012_val_{number + 1:08d}.JPEG", next(images))
        _end(file)
    devkit = io.BytesIO()
    # not sorted: the reader knows a wrong file by that
    truth = "".join(f"{CLASSES - number % CLASSES}\n" for number in range(num_val))
    _add(devkit, "devkit/data/meta.mat", _meta())
    _add(devkit, "devkit/data/ILSVRC2012_validation_ground_truth.txt", truth.encode())
    _end(devkit)
    (folder / DEVKIT).write_bytes(gzip.compress(devkit.getvalue()))


def seal_run(config: TrainConfig, root: Path, like: Path | None = None) -> Path:
    """Seal a training on ILSVRC-2012, and return the path of its metrics.

    They are those of `like`, or as many rows as it would log.
    """
    cadence, path = Cadence(config, ILSVRC2012_IMAGES["train"]), metrics_path(config, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    if like is None:
        with path.open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in _rows(cadence))
    else:
        shutil.copyfile(like, path)
    facts = RunFacts(
        world_size=1,
        device="cpu",
        operators=True,
        area_by_library=True,
        steps=cadence.num_steps,
        seconds=1.0,
        attempts=1,
        core_or_gpu_hours=1.0,
        num_parameters=1,
        validation=ERRORS,
        best_step=cadence.num_steps,
    )
    sealing.RUN.seal(config, root, [], facts, timed=[path])
    return path


def write_chunks(config: EvaluateConfig, root: Path, seed: int) -> list[range]:
    """Store the scores of all validation images, and return the chunks."""
    labels = Dataset(config.data, root).split("val").labels
    rng, predictions = np.random.default_rng(seed), Predictions(config, root)
    chunks = [
        range(start, min(start + CHUNK, len(labels))) for start in range(0, len(labels), CHUNK)
    ]
    for chunk in chunks:
        rows, mine = np.arange(len(chunk)), labels[chunk.start : chunk.stop]
        scores = {}
        for policy in config.policies:
            values = rng.standard_exponential((len(chunk), CLASSES), np.float32)
            values[rows, mine] *= LEAD
            scores[policy] = values / values.sum(axis=1, keepdims=True)
        predictions.publish_chunk(chunk, scores, {}, 1.0, "made up")
    return chunks


def merge(config: EvaluateConfig, root: Path) -> None:
    """Merge the chunks of an evaluation, as its stage does."""
    split = Dataset(config.data, root).split("val")
    stored = (root / config.folder / "chunks").glob("*/*.safetensors")
    chunks = [range(*map(int, path.stem.split("-"))) for path in sorted(stored)]
    facts = EvaluationFacts(num_images=len(split), world_size=1, device="cpu", num_rejected=0)
    Predictions(config, root).merge(chunks, split.image_ids, split.labels, facts)


def _rows(cadence: Cadence) -> Iterator[dict[str, float]]:
    """Yield the rows that a training logs: of windows, and a validation each epoch."""
    validated = 0
    for step in [*range(20, cadence.num_steps, 20), cadence.num_steps]:
        epoch = cadence.epoch_at(step)
        where = {"step": step, "epoch": round(epoch, 4), "seconds": round(step / 90, 2)}
        loss = 2 + 12 / (1 + epoch) + 0.37 * np.sin(step)
        if cadence.closes_window(step):
            yield where | {
                "loss": loss,
                "loss_main": loss / 1.6,
                "loss_4a": loss / 1.5,
                "loss_4d": loss / 1.55,
                "learning_rate": cadence.step(step).rate,
                "images_per_second": 2880.51,
                "data_wait": 0.0123,
                "memory_gb": 4.321,
                "dead_outputs": 0,
            }
        if int(epoch) > validated or step == cadence.num_steps:
            validated = int(epoch)
            yield where | columns_of(ERRORS)


def _images() -> Iterator[bytes]:
    """Yield JPEG files, no two of which have the same bytes."""
    file = io.BytesIO()
    Image.effect_noise((8, 8), 40).convert("RGB").save(file, "JPEG")
    start, rest = file.getvalue()[:2], file.getvalue()[2:]
    number = 0
    while True:
        yield start + b"\xff\xfe\x00\x0a" + number.to_bytes(8) + rest  # a comment
        number += 1


def _wnid(label: int) -> str:
    return f"n{label + 1:08d}"


def _add(file: BinaryIO, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    file.write(info.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % 512))


def _end(file: BinaryIO) -> None:
    file.write(b"\0" * 1024)


def _meta() -> bytes:
    from scipy.io import savemat

    names = ("ILSVRC2012_ID", "WNID", "words", "num_children")
    synsets = np.empty((CLASSES, 1), dtype=[(name, object) for name in names])
    for label in range(CLASSES):
        synsets[label, 0] = (label + 1, _wnid(label), f"thing {label}", 0)
    file = io.BytesIO()
    savemat(file, {"synsets": synsets})
    return file.getvalue()
