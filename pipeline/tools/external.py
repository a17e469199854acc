"""The study that measures a classifier trained elsewhere: data, evaluation and results,
without an experiment file.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from pipeline.configs.compare import EnsembleConfig
from pipeline.configs.crops import CropsConfig
from pipeline.configs.evaluate import TRANSFORMING, EvaluateConfig, ForeignConfig
from pipeline.configs.fidelity import PUBLISHED
from pipeline.configs.network import Precision
from pipeline.configs.study import CheckConfig, PublishedWeights, Study
from pipeline.configs.user_file import python_function
from pipeline.configs.wrong_fields import one_line
from pipeline.errors import InputError
from pipeline.paper.policies import CURVE
from pipeline.paper.published import NEIGHBOURS, PublishedId
from pipeline.runtime import disk
from pipeline.tools.images_to_classify import images_of, say

if TYPE_CHECKING:  # it takes torch
    from pipeline.models.usual import Usual

Triple = tuple[float, float, float]


def foreign_study(
    arch: str | None,
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
    weights_key: str | None = None,
    transform_input: bool | None = None,
    published_as: PublishedId | None = None,
    **crops: str | None,
) -> Study:
    """Return a study of one classifier on one folder. The defaults are what the
    architecture usually needs.

    `arch` may be FILE.py:FUNCTION; without it, the config.json beside the weights says
    it, as timm writes it, with the entry of pixels. `crops` are fields of
    `CropsConfig`. By default `transform_input` is on only for torchvision's own files.
    `published_as` names the neighbour of the paper whose weights these are; by default
    the digest of the file tells it.

    Raises:
        InputError: there is no such file or architecture, the file holds several sets
            of weights, or a value is out of range.
    """
    from pipeline.models.outputs import num_outputs
    from pipeline.models.weight_files import (
        described_beside,
        digest_of_weights,
        refuse_transformers,
    )
    from pipeline.models.weights import read_weights

    if weights is not None:
        weights = _file_of(weights)
    if arch is None:
        theirs = described_beside(weights)
        arch, mean, std = theirs.arch, mean or theirs.mean, std or theirs.std
        input_size = input_size or theirs.input_size
    arch, code = _arch_and_code(arch, weights)
    outputs = None
    if code is None:
        refuse_transformers(weights)
    if weights is not None:
        outputs = num_outputs(arch, read_weights(weights, weights_key), weights)
    try:
        sha256 = None if weights is None else digest_of_weights(weights)
        usual = _usual(arch, weights, sha256, mean, std, input_size)
        entry = usual.preprocessing
        order = channel_order or entry.channel_order
        if order != entry.channel_order:
            entry = entry._replace(mean=entry.mean[::-1], std=entry.std[::-1])
        if transform_input is None and arch in TRANSFORMING:
            transform_input = usual.is_recognised
        foreign = ForeignConfig(
            arch=arch,
            weights=weights,
            sha256=sha256,
            sha1=disk.digest(weights, "sha1")
            if weights and weights.suffix == ".caffemodel"
            else None,
            code=code,
            code_sha256=None if code is None else disk.sha256(code),
            input_size=input_size or usual.input_size,
            mean=mean or entry.mean,
            std=std or entry.std,
            channel_order=order,
            weights_key=weights_key,
            transform_input=transform_input,
            **_noted(arch, weights),
        )
        images = images_of(data, classes, outputs)
        evaluation = EvaluateConfig(
            data=images,
            classifier=foreign,
            precision=precision,
            compiled=compiled,
            policies=policies,
            crops=CropsConfig.model_validate(
                {"resize": usual.resize}
                | {name: choice for name, choice in crops.items() if choice is not None}
            ),
        )
    except ValidationError as error:
        raise InputError(one_line(error)) from None
    title = f"{arch} ({(weights or code or data).name}) on {images.name}"
    results = tuple(
        EnsembleConfig(members=(evaluation,), policy=policy) for policy in evaluation.policies
    )
    check = CheckConfig(results=results, neighbour=_published(foreign, published_as))
    return Study(name=study_name(f"evaluate-{arch}"), title=title, check=check)


def _file_of(weights: Path) -> Path:
    """Return the file of weights that a path stands for, and say which."""
    from pipeline.models.weight_files import weights_file

    path = weights_file(weights)
    if path != weights:
        say(f"--weights {weights}: {path.relative_to(weights)} is taken")
    return path


def _noted(arch: str, weights: Path | None) -> dict[str, Any]:
    """Return the fields of a `ForeignConfig` that a file of our weights notes."""
    from pipeline.models.weights import note_in

    note = note_in(weights) if arch == "googlenet" and weights else None
    return {"network": note.network, "are_best": note.are_best} if note else {}


def _published(foreign: ForeignConfig, published_as: PublishedId | None) -> PublishedWeights | None:
    """Return the neighbour of the paper whose published errors the weights must show,
    if there is one.
    """
    if published_as is None:
        own = (n.id for n in NEIGHBOURS if n.id and n.has_weights(foreign.sha256, foreign.sha1))
        return next((PublishedWeights(id=published) for published in own), None)
    if foreign.arch != (expected := PUBLISHED[published_as].arch):
        raise InputError(
            f"--published-as {published_as}: those are weights of {expected}, and --arch is"
            f" {foreign.arch}"
        )
    return PublishedWeights(id=published_as)


def _arch_and_code(arch: str, weights: Path | None) -> tuple[str, Path | None]:
    """Return an architecture as configs name it, and the user's file that defines it,
    if there is one.
    """
    code, _, function = arch.rpartition(":")
    if arch.startswith("python:"):
        raise InputError(f"--arch {arch}: a network of your own is FILE.py:FUNCTION")
    if not code.endswith(".py"):
        if weights is None:
            raise InputError(
                f"--arch {arch}: needs --weights FILE; only a network of your own (--arch"
                " FILE.py:FUNCTION) may go without"
            )
        return arch, None
    if not function.isidentifier():
        raise InputError(
            f"--arch {arch}: {function!r} is no name of a function; expected FILE.py:FUNCTION"
        )
    # refuse a wrong file before the data is prepared
    python_function(Path(code), function, f"{function}(num_classes)")
    return f"python:{function}", Path(code)


def _usual(
    arch: str,
    weights: Path | None,
    sha256: str | None,
    mean: Triple | None,
    std: Triple | None,
    input_size: int | None,
) -> "Usual":
    """Return what the weights of the architecture usually need.

    Where this is unknown, the user must give mean, std and input size.
    """
    from pipeline.models.usual import Usual, usual
    from pipeline.paper.preprocessing import Preprocessing

    if (theirs := usual(arch, weights, sha256)) is not None:
        return theirs
    if mean is None or std is None or input_size is None:
        raise InputError(
            f"--arch {arch}: timm says nothing of its preprocessing; give --mean, --std and"
            " --input-size"
        )
    return Usual("the user", Preprocessing(mean, std), input_size)


def study_name(text: str) -> str:
    """Return a text as the name of a study."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", text)[:64]
