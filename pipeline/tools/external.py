"""The study that measures a classifier trained elsewhere: data, evaluation, results,
without an experiment file.
"""

import re
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from pipeline.configs.compare import EnsembleConfig
from pipeline.configs.evaluate import CropsConfig, EvaluateConfig, ForeignConfig
from pipeline.configs.experiment import one_line, python_function
from pipeline.configs.network import Precision
from pipeline.configs.prepare import VAL as ILSVRC_VAL
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import CheckConfig, Study
from pipeline.errors import InputError
from pipeline.paper.crops import CURVE
from pipeline.runtime import disk

Triple = tuple[float, float, float]


def foreign_study(
    arch: str,
    weights: Path | None,
    data: Path,
    classes: Path | None = None,
    input_size: int | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    channel_order: Literal["rgb", "bgr"] | None = None,
    precision: Precision = "fp32",
    compiled: bool = False,
    policies: tuple[str, ...] = CURVE,
    **crops: str,
) -> Study:
    """A study of one classifier on one folder; what is not given is what the
    architecture usually needs.

    `arch` may be FILE.py:FUNCTION. `crops` are fields of `CropsConfig`.

    Raises:
        InputError: no such file or architecture, or a value out of range.
    """
    from pipeline.models.loading import default_preprocessing, read_weights

    code, _, function = arch.rpartition(":")
    if arch.startswith("python:"):
        raise InputError(f"--arch {arch}: a network of your own is FILE.py:FUNCTION")
    if is_code := code.endswith(".py"):
        if not function.isidentifier():
            raise InputError(
                f"--arch {arch}: {function!r} is no name of a function; expected FILE.py:FUNCTION"
            )
        arch = f"python:{function}"
        # a wrong file is said before the data is prepared
        python_function(Path(code), function, f"{function}(num_classes)")
    elif weights is None:
        raise InputError(
            f"--arch {arch}: needs --weights FILE; only a network of your own (--arch"
            " FILE.py:FUNCTION) may go without"
        )
    if weights is not None:
        read_weights(weights)
    try:
        usual, usual_size = default_preprocessing(arch, weights)
        order = channel_order or usual.channel_order
        if order != usual.channel_order:
            usual = usual._replace(mean=usual.mean[::-1], std=usual.std[::-1])
        foreign = ForeignConfig(
            arch=arch,
            weights=weights,
            sha256=None if weights is None else disk.sha256(weights),
            code=Path(code) if is_code else None,
            code_sha256=disk.sha256(Path(code)) if is_code else None,
            input_size=input_size or usual_size,
            mean=mean or usual.mean,
            std=std or usual.std,
            channel_order=order,
        )
        name = _name(data.resolve().name or "data")
        images = _images(data, name, classes)
        evaluation = EvaluateConfig(
            data=images,
            classifier=foreign,
            precision=precision,
            compiled=compiled,
            policies=policies,
            crops=CropsConfig.model_validate(crops),
        )
    except ValidationError as error:
        raise InputError(one_line(error)) from None
    title = f"{arch} ({weights.name if weights else Path(code).name}) on {images.name}"
    results = tuple(
        EnsembleConfig(members=(evaluation,), policy=policy) for policy in evaluation.policies
    )
    return Study(name=_name(f"evaluate-{arch}"), title=title, check=CheckConfig(results=results))


def _images(data: Path, name: str, classes: Path | None) -> PrepareConfig:
    """A folder of images, or of ILSVRC-2012's raw validation archive and devkit, which
    know their classes themselves.
    """
    if not (data / ILSVRC_VAL).is_file():
        return PrepareConfig(
            source="labelled_folder", name=name, path=data, classes=_lines(classes)
        )
    if classes is not None:
        raise InputError(
            f"--classes {classes}: the classes of {data / ILSVRC_VAL} are those of the devkit; go"
            " without"
        )
    return PrepareConfig(source="ilsvrc2012", name=name, path=data, only_val=True)


def _lines(path: Path | None) -> tuple[str, ...] | None:
    """A class a line, in order; blank lines do not count."""
    if path is None:
        return None
    try:
        names = tuple(line.strip() for line in path.read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path}: cannot be read as text; expected one class a line") from None
    if len(names) < 2:
        raise InputError(f"{path}: names {len(names)} classes; expected one a line, at least 2")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{path}: names class {twice} twice; expected each class once")
    return names


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:64]
