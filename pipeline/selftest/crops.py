"""Checks of an evaluation: the pixels of 144 crops, and their probabilities."""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch

from pipeline.artefacts.dataset import Split
from pipeline.artefacts.selftest_facts import Figure
from pipeline.benchmarks.turns import photograph_shard
from pipeline.configs.crops import CropsConfig
from pipeline.configs.network import PixelConfig
from pipeline.models.classify import classify, open_image
from pipeline.models.cutting import Gathered, Pixels, Views, pack
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.selftest.checks import Bench, Check, plain_cpu
from pipeline.selftest.network import CLASSES, googlenet

POLICIES = ("crops_1", "crops_10", "crops_144")
SPREAD = 3.0  # ours: of the logits; those of a trained network
# ours: logits of that spread, off by 1e-5 of the largest, move a probability by 1e-5
NEAR = 1e-4, "fp32, as the logits"
COMPILED = 1e-4, "fp32; a compiler sums in another order"


def split_of(bench: Bench) -> Split:
    """Return photographs as a split of a data set."""
    path = bench.folder / "photographs.arrow"
    if not path.exists():
        photograph_shard(bench.folder, bench.config.path, bench.config.num_images)
    return Split([path])


def pixels(bench: Bench) -> Iterator[Figure]:
    """Compare what the device gathers from packed bytes with what the CPU cuts."""
    split, side = split_of(bench), bench.config.input_size
    preprocessing = PixelConfig().preprocessing
    differing, compared = 0, 0
    for dtype, channels in ((torch.float32, 3), (torch.bfloat16, 4)):
        for index in range(len(split)):
            image = open_image(split, index, ("crops_144",), side, CropsConfig())
            here = Pixels(torch.device("cpu"), preprocessing, side, channels, dtype)
            there = Pixels(bench.device, preprocessing, side, channels, dtype)
            count = len(image.crops)
            cut, gathered = here.batch(count), there.batch(count)
            Views(here, image).write(cut)
            Gathered(there, pack([image], side, bench.device.type == "cuda")).write(gathered)
            differing += int((cut != gathered.cpu()).sum())
            compared += cut.numel()
    yield Figure(
        what=f"values that differ, of {compared:,}",
        value=float(differing),
        most=0.0,
        reason="bytes, one subtraction and one division round alike everywhere",
    )


def classifier(bench: Bench) -> Classifier:
    """Return the network of an evaluation, whose logits spread like a trained one's."""
    if "classifier" not in bench.kept:
        network = googlenet(bench.config, heads=False).eval()
        split = split_of(bench)
        with plain_cpu() as cpu, torch.no_grad():
            engine = Engine(_classifier(bench, network), cpu)
            image = open_image(split, 0, ("crops_1",), bench.config.input_size, CropsConfig())
            place = engine.pixels.batch(1)
            Views(engine.pixels, image).write(place)
            logits = engine.network(place.permute(0, 3, 1, 2))
            network.classifier.weight.mul_(SPREAD / logits.std())
        bench.kept["classifier"] = _classifier(bench, network)
    kept: Classifier = bench.kept["classifier"]
    return kept


def _classifier(bench: Bench, network: torch.nn.Module) -> Classifier:
    return Classifier(network, PixelConfig().preprocessing, bench.config.input_size)


def scores(bench: Bench, engine: Engine) -> dict[str, np.ndarray]:
    """Return the probabilities of photographs by an evaluation's own way."""
    split = split_of(bench)
    ids = range(min(len(split), 1 if bench.device.type == "cpu" else len(split)))
    pooled, bad = classify(engine, split, ids, CLASSES, POLICIES, CropsConfig())
    if bad:
        raise RuntimeError(f"photographs cannot be classified: {bad}")
    return pooled


def eager_scores(bench: Bench) -> dict[str, np.ndarray]:
    """Return the scores of the device's engine; computed once."""
    if "scores" not in bench.kept:
        bench.kept["scores"] = scores(bench, Engine(classifier(bench), bench.device))
    kept: dict[str, np.ndarray] = bench.kept["scores"]
    return kept


def probabilities(bench: Bench) -> Iterator[Figure]:
    """Compare the mean probabilities of 1, 10 and 144 crops with the CPU's."""
    chosen = classifier(bench)
    with plain_cpu() as cpu:
        exact = scores(bench, Engine(chosen, cpu))
    for policy, values in eager_scores(bench).items():
        yield _near(f"{policy}: largest difference of a probability", values, exact[policy], NEAR)
    yield Figure(what="largest probability", value=float(exact["crops_1"].max()))


def again(bench: Bench) -> Iterator[Figure]:
    """Compare the bits of two evaluations."""
    second = scores(bench, Engine(classifier(bench), bench.device))
    digests = [
        hashlib.sha256(b"".join(pooled[policy].tobytes() for policy in POLICIES)).digest()
        for pooled in (eager_scores(bench), second)
    ]
    yield Figure(
        what="evaluations with other bits",
        value=float(digests[0] != digests[1]),
        most=0.0,
        reason="batches have one shape, and kernels are deterministic",
    )


def compile_engine(bench: Bench) -> Iterator[Figure]:
    """Compare the compiled engine with the eager one."""
    bench.needs(120)  # ours: a minute on an idle core
    values = scores(bench, Engine(classifier(bench), bench.device, compiled=True))
    for policy, eager in eager_scores(bench).items():
        yield _near(f"{policy}: largest difference", values[policy], eager, COMPILED)


def _near(what: str, values: np.ndarray, exact: np.ndarray, bound: tuple[float, str]) -> Figure:
    value = float(np.abs(values - exact).max())
    return Figure(what=what, value=value, most=bound[0], reason=bound[1])


CHECKS = (
    Check("pixels", "Pixels of 144 crops: gathered on the device, and cut on the CPU.", pixels),
    Check(
        "probabilities",
        "Mean probabilities of a photograph's crops by the engine, beside the CPU's.",
        probabilities,
    ),
    Check("evaluation again", "A second evaluation on the device, bit by bit.", again),
)
COMPILED_CHECKS = (
    Check(
        "compiled engine", "The engine through torch.compile, beside the eager one.", compile_engine
    ),
)
