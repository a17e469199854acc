"""All ways to classify the 144 crops of an image: people's (peers.py), and ours.

Each is a function of a task that returns a function of one image (its number ->
`Timing`).
"""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

from torch import Tensor

from pipeline.benchmarks.peers import (
    BATCHES,
    COMPILED_BATCHES,
    CROPS,
    ONE_BATCH,
    Cut,
    Task,
    Timing,
    in_onnxruntime,
    in_openvino,
    in_torch,
    normalised_once,
    peer,
    resized_each,
)
from pipeline.benchmarks.turns import Spent, stopwatch
from pipeline.configs.benchmark import BenchmarkConfig, ContenderGroup
from pipeline.configs.crops import CropsConfig
from pipeline.models.classify import classify, open_image
from pipeline.models.cutting import Views
from pipeline.models.engine import Engine
from pipeline.models.loading import Classifier
from pipeline.paper.preprocessing import PREPROCESSING
from pipeline.runtime.environment import ALLOCATOR, PROCESS_ENVIRONMENT, num_loaders

POLICY = ("crops_144",)
STREAMED = 32  # ours: images in a turn of a GPU
# these run on a CPU alone, and need the extra `peers`
RUNTIMES = ("onnxruntime", "openvino")
EXPORT_NEEDS = ("onnx", "onnxscript")


class Contender(NamedTuple):
    """A way to classify, and the environment of its process.

    The peers have the environment of a user, with one thread.
    """

    group: ContenderGroup
    text: str
    make: Callable[[Task], Callable[[int], Timing]]
    environment: dict[str, str]
    precision: str = "fp32"
    is_compiled: bool = False


def ours(task: Task, precision: str, compiled: bool, resize: str) -> Callable[[int], Timing]:
    """Classify with our own code, from the stored bytes to the averaged probabilities.

    A GPU gets a stream of images from several loaders, as in an evaluation.
    """
    network, _, split, device = task
    size = network.input_size
    engine = Engine(Classifier(network, PREPROCESSING, size), device, precision, compiled)
    config = CropsConfig.model_validate({"resize": resize})
    count, loaders = (STREAMED, num_loaders("cuda")) if device.type == "cuda" else (1, 0)

    def classify_one(index: int) -> Timing:
        ids = [(index + k) % len(split) for k in range(count)]
        spent = stopwatch()
        scores, _ = classify(
            engine, split, ids, network.classifier.out_features, POLICY, config, loaders
        )
        total = Spent(*(seconds / count for seconds in spent()))

        def batches() -> Iterator[Tensor]:
            image = open_image(split, index, POLICY, size, config)
            return (batch for batch, _ in engine.batches([Views(engine.pixels, image)]))

        spent = stopwatch()
        for _ in batches():
            pass
        preprocessing = spent().wall

        in_memory = [batch.clone() for batch in batches()]
        spent = stopwatch()
        for batch in in_memory:
            engine.probabilities(batch).cpu().numpy()
        bound = spent().wall * CROPS / (len(in_memory) * engine.batch_size)
        return Timing(total, preprocessing, scores[POLICY[0]][0], bound, engine.batch_size)

    return classify_one


ONE_THREAD = {"OMP_NUM_THREADS": "1"}
# a peer with our allocator: what is left of a ratio is not the allocator's
SAME_ALLOCATOR = {**ONE_THREAD, **ALLOCATOR}
NAIVE, NAIVE_TUNED, CAREFUL_COMPILED = "naive", "naive, malloc", "careful compiled"
CAREFUL = partial(resized_each, per_crop=False)


def _torch(precision: str, compiled: bool) -> Contender:
    runtime = partial(in_torch, precision=precision, channels_last=True, compiled=compiled)
    text = f"{'torch.compile' if compiled else 'eager'}, {precision} channels last"
    batches = COMPILED_BATCHES if compiled else BATCHES
    make = partial(peer, cut=normalised_once, runtime=runtime, batches=batches)
    return Contender("torch", text, make, SAME_ALLOCATOR, precision, compiled)


def _ours(precision: str, compiled: bool) -> Contender:
    resize = "pil_bilinear" if precision == "fp32" else "torch_bilinear"
    return Contender(
        "ours",
        f"{'torch.compile' if compiled else 'eager'}, {resize}",
        partial(ours, precision=precision, compiled=compiled, resize=resize),
        PROCESS_ENVIRONMENT,
        precision,
        compiled,
    )


_USUAL: tuple[tuple[str, ContenderGroup, str, Cut, bool], ...] = (
    (NAIVE, "naive", "144 resizes, eager fp32 NCHW", resized_each, False),
    ("careful", "careful", "4 + 12 resizes, eager fp32 NCHW", CAREFUL, False),
    (CAREFUL_COMPILED, "careful", "4 + 12 resizes, torch.compile, fp32 NCHW", CAREFUL, True),
)
_EXPORT = "our exported network on one thread"
_WAYS = [(precision, compiled) for precision in ("fp32", "bf16") for compiled in (False, True)]
CONTENDERS = {
    **{
        name + suffix: Contender(
            group,
            text + words,
            partial(peer, cut=cut, runtime=partial(in_torch, compiled=compiled), batches=ONE_BATCH),
            environment,
            is_compiled=compiled,
        )
        for name, group, text, cut, compiled in _USUAL
        for suffix, words, environment in (
            ("", "", ONE_THREAD),
            (", malloc", ", with our settings of the allocator", SAME_ALLOCATOR),
        )
    },
    **{
        f"torch {precision}{' compiled' if compiled else ''}": _torch(precision, compiled)
        for precision, compiled in _WAYS
    },
    "onnxruntime fp32": Contender(
        "onnxruntime",
        _EXPORT,
        partial(peer, cut=normalised_once, runtime=in_onnxruntime),
        SAME_ALLOCATOR,
    ),
    **{
        f"openvino {precision}": Contender(
            "openvino",
            _EXPORT,
            partial(peer, cut=normalised_once, runtime=partial(in_openvino, precision=precision)),
            SAME_ALLOCATOR,
            precision,
        )
        for precision in ("fp32", "bf16")
    },
    **{
        f"ours {precision}{' compiled' if compiled else ''}": _ours(precision, compiled)
        for precision, compiled in _WAYS
    },
}


def chosen(config: BenchmarkConfig) -> tuple[dict[str, Contender], list[str]]:
    """Return the contenders of a benchmark, and a line for each group that cannot run.

    The naive one always takes part, as the others are compared with it.
    """
    wanted = {
        name: c for name, c in CONTENDERS.items() if not config.only or c.group in config.only
    }
    absent = {}
    for group in RUNTIMES:
        if config.device != "cpu":
            absent[group] = f"{group}: not timed; it runs on a CPU here"
        elif not all(find_spec(package) for package in (group, *EXPORT_NEEDS)):
            absent[group] = f"{group}: not installed; pip install 'going-deeper[peers]'"
    groups = {c.group for c in wanted.values()}
    here = {name: c for name, c in wanted.items() if c.group not in absent}
    return {NAIVE: CONTENDERS[NAIVE], **here}, [
        line for group, line in absent.items() if group in groups
    ]
