"""The study that measures a classifier trained elsewhere: data, evaluation, results, without an experiment file."""

import hashlib
import re
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from pipeline.experiment import one_line
from pipeline.study import CheckConfig, EvaluateConfig, ForeignConfig, InputError, PrepareConfig, Study, table3

Triple = tuple[float, float, float]


def foreign_study(
    arch: str,
    weights: Path,
    data: Path,
    classes: Path | None = None,
    input_size: int | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    channel_order: Literal["rgb", "bgr"] | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> Study:
    """A study of one classifier on one folder; what is not given is what the architecture usually needs.

    Raises:
        InputError: no such file or architecture, or a value out of range.
    """
    from pipeline.adapters.classifiers import default_preprocessing

    if not weights.is_file():
        raise InputError(f"{weights}: no such weights file; expected .caffemodel, .safetensors, .pt or .pth")
    try:
        usual, usual_size = default_preprocessing(arch, weights)
        foreign = ForeignConfig(
            arch=arch,
            weights=weights,
            sha256=hashlib.sha256(weights.read_bytes()).hexdigest(),
            input_size=input_size or usual_size,
            mean=mean or usual.mean,
            std=std or usual.std,
            channel_order=channel_order or usual.channel_order,
        )
    except ValidationError as error:
        raise InputError(one_line(error)) from None
    images = PrepareConfig(source="labelled_folder", name=_name(data.resolve().name), path=data, classes=_lines(classes))
    evaluation = EvaluateConfig(data=images, classifier=foreign, precision=precision)
    name, label = _name(f"evaluate-{arch}"), f"{arch} ({weights.name})"
    return Study(name=name, title=f"{label} on {images.name}", check=CheckConfig(results=table3((evaluation,))))


def _lines(path: Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    if not path.is_file():
        raise InputError(f"{path}: no such file of classes; expected one class a line")
    return tuple(path.read_text().split())


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:64]
