"""The study of a training on one's own classes, without an experiment file."""

from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from pipeline.configs.compare import table3
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.network import (
    AnyNetwork,
    InitialWeights,
    NetworkConfig,
    PixelConfig,
    Precision,
)
from pipeline.configs.other_network import OtherNetwork
from pipeline.configs.prepare import PrepareConfig, name_of
from pipeline.configs.recipes import finetuning
from pipeline.configs.study import CheckConfig, Study
from pipeline.configs.train import TrainConfig
from pipeline.configs.wrong_fields import one_line
from pipeline.errors import InputError
from pipeline.sources.registry import open_source
from pipeline.tools.external import study_name

SIZE, WIDTH = 112, 0.5  # ours: as configs/miniature.py, an hour on a CPU core for 7,000 images


class Finetuning(NamedTuple):
    """A study of one training, and what a person should read before it."""

    study: Study
    run: TrainConfig
    words: str


def finetune_study(
    folder: Path,
    weights: Path | None = None,
    name: str | None = None,
    epochs: float | None = None,
    input_size: int | None = None,
    width: float | None = None,
    precision: Precision = "fp32",
    arch: str | None = None,
    weights_key: str | None = None,
    frozen: tuple[str, ...] = (),
) -> Finetuning:
    """Return the study of a training on a folder's classes.

    A file of weights names the network, and its input size where none is given; those
    of others need `arch`. Without a folder val/ the images are split by rule
    (sources/unsplit_folder.py).

    Raises:
        InputError: the folder is not what is expected, the weights are of no network of
            ours, or a value is out of range.
    """
    try:
        data = _images(folder.absolute(), name_of(folder.resolve(), name, "data"))
        if arch is None:
            network, pixels, begin = _beginning(weights, width)
        else:
            network, pixels, begin = _of_others(arch, weights, weights_key, width)
        network = network.but(input_size=input_size or network.input_size)
        source = open_source(data)
        numbers = [piece.split for piece in source.pieces() if piece.label >= 0]
        count = numbers.count("train")
        run = finetuning(data, network, pixels, count, begin, epochs).but(
            precision=precision, frozen=frozen
        )
        evaluation = EvaluateConfig(data=data, classifier=run, precision=precision)
        kind = "A GoogLeNet" if run.shape else run.arch
        title = f"{kind} on {data.name}, from {weights.name if weights else 'nothing'}"
        study = Study(
            name=study_name(f"finetune-{data.name}"),
            title=title,
            check=CheckConfig(results=table3((evaluation,))),
        )
    except ValidationError as error:
        raise InputError(one_line(error)) from None
    words = (
        f"{data.name}: {len(source.classes)} classes, {count} images for training,"
        f" {numbers.count('val')} for validation\n"
        f"recipe: {run.num_epochs:g} epoch{'s' * (run.num_epochs != 1)} in batches of"
        f" {run.global_batch_size}, rate {run.learning_rate:g}, {network.input_size} px,"
        f" {f'width {run.shape.width:g}' if run.shape else run.arch}, {precision}"
    )
    return Finetuning(study, run, words)


def _images(folder: Path, name: str) -> PrepareConfig:
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return PrepareConfig(source="imagefolder", name=name, path=folder)
    inside = folder / "train" if (folder / "train").is_dir() else folder
    return PrepareConfig(source="unsplit_folder", name=name, path=inside)


def _beginning(
    weights: Path | None, width: float | None
) -> tuple[AnyNetwork, PixelConfig, InitialWeights | None]:
    """Return the network, its pixels, and the weights that it begins with."""
    if weights is None:
        network = NetworkConfig(input_size=SIZE, width=WIDTH if width is None else width)
        return network, PixelConfig(), None
    from pipeline.models.beginning import note_of  # late: it takes torch

    note = note_of(weights)
    own = note.network.width if isinstance(note.network, NetworkConfig) else None
    if width not in (None, own):
        kind = f"a network of width {own:g}" if own else note.network.arch
        raise InputError(f"--width {width:g}: the weights are of {kind}; go without --width")
    return note.network, note.pixels, InitialWeights.of(weights.absolute())


def _of_others(
    arch: str, weights: Path | None, key: str | None, width: float | None
) -> tuple[AnyNetwork, PixelConfig, InitialWeights | None]:
    """Return the same of a network of timm, torchvision or a file of the user's."""
    from pipeline.models.usual import usual  # late: it takes torch

    if width is not None:
        raise InputError(f"--width {width:g}: is of a GoogLeNet; go without it, or --arch")
    begin = InitialWeights.of(weights.absolute(), key) if weights else None
    network = OtherNetwork.of(arch)
    is_users = network.code is not None
    theirs = None if is_users else usual(arch, weights, begin.sha256 if begin else None)
    if theirs is None:
        return network, PixelConfig(), begin
    pixels = PixelConfig.model_validate(theirs.preprocessing._asdict())
    return network.but(input_size=theirs.input_size), pixels, begin
