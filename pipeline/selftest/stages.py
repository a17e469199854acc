"""Checks of the product's own stages: prepare, train with an interruption, evaluate."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from pipeline.artefacts import sealing
from pipeline.artefacts.dataset import Dataset
from pipeline.artefacts.predictions import Predictions
from pipeline.artefacts.run import Run
from pipeline.artefacts.selftest_facts import Figure
from pipeline.configs.base import StageConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.network import NetworkConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.train import TrainConfig
from pipeline.errors import StageEnded
from pipeline.models.classify import classify
from pipeline.models.engine import Engine
from pipeline.models.loading import our_classifier
from pipeline.selftest.checks import Bench, Check, plain_cpu
from pipeline.stages import run_stage
from pipeline.training.learner import Learner

Launch = Callable[..., None]  # of a function on so many ranks, with its arguments
POLICIES = ("crops_1", "crops_144")
CLASSES, TRAIN, VAL, SIDE = 10, 64, 4, 48  # ours: images of a class; seconds in all
EPOCHS, INTERRUPTED_AT = 3.0, 20  # ours: some seconds; a step in the middle
COMPARED = 4  # ours: images that the CPU classifies again
NEAR = 1e-4, "fp32, as the probabilities above"


def data_of(bench: Bench) -> PrepareConfig:
    """Return the data set of a folder of images."""
    return PrepareConfig(source="imagefolder", name="digits", path=bench.folder / "images")


def run_of(bench: Bench) -> TrainConfig:
    """Return a training of seconds, of a network that learns fast."""
    shape = NetworkConfig(
        input_size=42, width=0.125, norm="batch", aux_heads=(), dropout=0.0, aux_dropout=0.0
    )
    return TrainConfig(
        data=data_of(bench),
        network=shape,
        num_epochs=EPOCHS,
        global_batch_size=32,
        learning_rate=0.1,
        schedule="cosine",
        averaging_decay=0.9,
        clip_norm=5.0,
        min_area=0.9,
        validate_every_epochs=EPOCHS,
        checkpoint_every_steps=INTERRUPTED_AT // 2,
    )


def draw(folder: Path) -> None:
    """Write scikit-learn's handwritten digits as PNGs: <split>/<class>/<number>.png."""
    digits = load_digits()
    for label in range(CLASSES):
        images = digits.images[digits.target == label][: TRAIN + VAL]
        for number, values in enumerate(images):
            place = folder / ("train" if number < TRAIN else "val") / str(label)
            place.mkdir(parents=True, exist_ok=True)
            pixels = Image.fromarray((values * (255 / 16)).astype(np.uint8))
            pixels.resize((SIDE, SIDE)).save(place / f"{number}.png")


def prepare(bench: Bench) -> Iterator[Figure]:
    """Prepare the digits, and count them."""
    config, (whole, broken) = data_of(bench), roots(bench)
    draw(bench.folder / "images")
    run_stage(config, whole)
    shutil.copytree(whole, broken)
    counts = Dataset(config, whole).manifest.num_images
    missing = abs(CLASSES * TRAIN - counts["train"]) + abs(CLASSES * VAL - counts["val"])
    yield _exact("images missing", missing, "all are usable")


def train(launch: Launch, bench: Bench) -> Iterator[Figure]:
    """Train at a stretch, and with an interruption; compare the weights' bytes."""
    config, (whole, broken) = run_of(bench), roots(bench)
    launch(stage, 1, config, whole)
    interruptions = 0
    try:
        launch(interrupt, 1, config, broken)
    except StageEnded:
        interruptions = 1
    launch(stage, 1, config, broken)
    yield _exact("interruptions missing", 1 - interruptions, f"after step {INTERRUPTED_AT}")
    attempts = [sealing.RUN.unseal(config, root).attempts for root in (whole, broken)]
    yield _exact("attempts other than 1 and 2", int(attempts != [1, 2]), "it went on")
    weights = [Run(config, root).weights_file("raw").read_bytes() for root in (whole, broken)]
    yield _exact("files of weights that differ", int(weights[0] != weights[1]), "exact resume")


def evaluate(launch: Launch, bench: Bench) -> Iterator[Figure]:
    """Evaluate one crop and 144, compare with the CPU, and with guessing."""
    config, root = run_of(bench), roots(bench)[1]
    evaluation = EvaluateConfig(data=config.data, classifier=config, policies=POLICIES)
    launch(stage, 1, evaluation, root)
    predictions, split = Predictions(evaluation, root), Dataset(config.data, root).split("val")
    weights = Run(config, root).weights(evaluation.weights)
    with plain_cpu() as cpu:
        engine = Engine(our_classifier(config, weights, CLASSES), cpu)
        ids = range(COMPARED)
        exact, _ = classify(engine, split, ids, CLASSES, POLICIES, evaluation.crops)
    for policy in POLICIES:
        scores = predictions.probabilities(policy)
        value = float(np.abs(scores[:COMPARED] - exact[policy]).max())
        what = f"{policy}: largest difference of a probability from the CPU's"
        yield Figure(what=what, value=value, most=NEAR[0], reason=NEAR[1])
        yield Figure(
            what=f"{policy}: largest distance of a sum of probabilities from 1",
            value=float(np.abs(scores.sum(1) - 1).max()),
            most=1e-5,
            reason="fp32",
        )
        yield Figure(
            what=f"{policy}: top-1 error",
            value=float((scores.argmax(1) != split.labels).mean()),
            most=0.8,
            reason="guessing has 0.9; the training is short",
        )


def stage(config: StageConfig, root: Path) -> None:
    """Run a stage as a rank."""
    run_stage(config, root)


def interrupt(config: StageConfig, root: Path) -> None:
    """Run a training as a rank, and ask it to end after a step, as SLURM does."""
    step: Any = Learner.step

    def with_notice(self: Learner, *arguments: Any) -> Any:
        losses = step(self, *arguments)
        if arguments[0].number == INTERRUPTED_AT:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    Learner.step = with_notice  # type: ignore[method-assign, assignment]
    try:
        run_stage(config, root)
    finally:
        Learner.step = step  # type: ignore[method-assign]


def roots(bench: Bench) -> tuple[Path, Path]:
    """Return the roots of the training at a stretch, and of the interrupted one."""
    return bench.folder / "whole", bench.folder / "interrupted"


def checks(launch: Launch) -> tuple[Check, ...]:
    """Return the checks; `launch` starts ranks."""
    return (
        Check("prepare", "Stage prepare: a folder of scikit-learn's handwritten digits.", prepare),
        Check(
            "train",
            "Stage train at a stretch, and ended by SIGTERM and gone on with: the same bytes.",
            partial(train, launch),
        ),
        Check(
            "evaluate",
            "Stage evaluate of that training, 1 and 144 crops, beside the CPU.",
            partial(evaluate, launch),
        ),
    )


def _exact(what: str, value: int, reason: str) -> Figure:
    return Figure(what=what, value=float(value), most=0.0, reason=reason)
