"""The study of a training on one's own classes, without an experiment file."""

from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from pipeline.configs.compare import table3
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.network import NetworkConfig, PixelConfig, Precision
from pipeline.configs.prepare import PrepareConfig, name_of
from pipeline.configs.recipes import finetuning
from pipeline.configs.study import CheckConfig, Study
from pipeline.configs.train import InitialWeights, TrainConfig
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
) -> Finetuning:
    """Return the study of a training on a folder's classes.

    A file of weights names the network, and its input size where none is given. Without
    a folder val/ the images are split by rule (sources/unsplit_folder.py).

    Raises:
        InputError: the folder is not what is expected, the weights are of no network of
            ours, or a value is out of range.
    """
    try:
        data = _images(folder.absolute(), name_of(folder.resolve(), name, "data"))
        network, pixels, begin = _beginning(weights, width)
        network = network.but(input_size=input_size or network.input_size)
        source = open_source(data)
        numbers = [piece.split for piece in source.pieces() if piece.label >= 0]
        count = numbers.count("train")
        run = finetuning(data, network, pixels, count, begin, epochs).but(precision=precision)
        evaluation = EvaluateConfig(data=data, classifier=run, precision=precision)
        title = f"A GoogLeNet on {data.name}, from {weights.name if weights else 'nothing'}"
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
        f" {run.global_batch_size}, rate {run.learning_rate:g}, {network.input_size} px, width"
        f" {network.width:g}, {precision}"
    )
    return Finetuning(study, run, words)


def _images(folder: Path, name: str) -> PrepareConfig:
    if (folder / "train").is_dir() and (folder / "val").is_dir():
        return PrepareConfig(source="imagefolder", name=name, path=folder)
    inside = folder / "train" if (folder / "train").is_dir() else folder
    return PrepareConfig(source="unsplit_folder", name=name, path=inside)


def _beginning(
    weights: Path | None, width: float | None
) -> tuple[NetworkConfig, PixelConfig, InitialWeights | None]:
    """Return the network, its pixels, and the weights that it begins with."""
    if weights is None:
        return (
            NetworkConfig(input_size=SIZE, width=WIDTH if width is None else width),
            PixelConfig(),
            None,
        )
    from pipeline.models.beginning import note_of  # late: it takes torch

    note = note_of(weights)
    if width not in (None, note.network.width):
        raise InputError(
            f"--width {width:g}: the weights are of a network of width {note.network.width:g}; go"
            " without --width"
        )
    return note.network, note.pixels, InitialWeights.of(weights.absolute())
