"""The config of a classifier trained elsewhere, from what a user says of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pipeline.configs.crops import Resize
from pipeline.configs.evaluate import TRANSFORMING, ForeignConfig
from pipeline.configs.network import NetworkConfig
from pipeline.configs.user_file import python_function
from pipeline.errors import InputError
from pipeline.runtime import disk
from pipeline.tools.images_to_classify import say

if TYPE_CHECKING:  # it takes torch
    from pipeline.models.usual import Usual

Triple = tuple[float, float, float]


class Foreign(NamedTuple):
    """A classifier, how its makers resize images, and the number of its outputs, where
    its weights tell it.
    """

    config: ForeignConfig
    resize: Resize
    num_outputs: int | None


def foreign_config(
    arch: str | None = None,
    weights: Path | None = None,
    weights_key: str | None = None,
    input_size: int | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    channel_order: Literal["rgb", "bgr"] | None = None,
    transform_input: bool | None = None,
) -> Foreign:
    """Return a classifier; the defaults are what the architecture usually needs.

    `arch` may be FILE.py:FUNCTION; without it, a note of ours in the weights says it,
    or the config.json beside them, as timm writes it, with the entry of pixels. By
    default `transform_input` is on only for torchvision's own files.

    Raises:
        InputError: there is no such file or architecture, or the file holds several
            sets of weights.
        ValidationError: a value is out of range.
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
    noted = _noted(weights)
    if arch is None and noted:
        arch = _noted_arch(noted["arch"], weights)
    if arch is None:
        theirs = described_beside(weights)
        arch, mean, std = theirs.arch, mean or theirs.mean, std or theirs.std
        input_size = input_size or theirs.input_size
    arch, code = _arch_and_code(arch, weights)
    if code is None:
        refuse_transformers(weights)
    outputs = num_outputs(arch, read_weights(weights, weights_key), weights) if weights else None
    sha256 = None if weights is None else digest_of_weights(weights)
    usual = _usual(arch, weights, sha256, mean, std, input_size)
    entry = usual.preprocessing
    order = channel_order or entry.channel_order
    if order != entry.channel_order:
        entry = entry._replace(mean=entry.mean[::-1], std=entry.std[::-1])
    if transform_input is None and arch in TRANSFORMING:
        transform_input = usual.is_recognised
    sha1 = weights and weights.suffix == ".caffemodel" and disk.digest(weights, "sha1")
    code_sha256 = None if code is None else disk.sha256(code)
    config = ForeignConfig(
        arch=arch,
        weights=weights,
        sha256=sha256,
        sha1=sha1 or None,
        code=code,
        code_sha256=code_sha256,
        input_size=input_size or usual.input_size,
        mean=mean or entry.mean,
        std=std or entry.std,
        channel_order=order,
        weights_key=weights_key,
        transform_input=transform_input,
        **_of_note(arch, noted, weights, code_sha256),
    )
    return Foreign(config, usual.resize, outputs)


def _file_of(weights: Path) -> Path:
    """Return the file of weights that a path stands for, and say which."""
    from pipeline.models.weight_files import weights_file

    path = weights_file(weights)
    if path != weights:
        say(f"--weights {weights}: {path.relative_to(weights)} is taken")
    return path


def _noted(weights: Path | None) -> dict[str, Any]:
    """Return what a file of our weights notes of its network."""
    from pipeline.models.weights import note_in

    note = note_in(weights) if weights else None
    return {"arch": note.network.arch, "note": note} if note else {}


def _noted_arch(arch: str, weights: Path | None) -> str:
    if arch.startswith("python:"):
        function = arch.removeprefix("python:")
        raise InputError(
            f"{weights}: is of the function {function} of a file; give --arch FILE.py:{function}"
        )
    return arch


def _of_note(
    arch: str, noted: dict[str, Any], weights: Path | None, code_sha256: str | None
) -> dict[str, Any]:
    """Return the fields of a `ForeignConfig` that a file of our weights notes."""
    if not noted:
        return {}
    note = noted["note"]
    if noted["arch"] != arch:
        raise InputError(f"{weights}: is of {noted['arch']} by its note, and --arch is {arch}")
    if isinstance(note.network, NetworkConfig):
        return {"network": note.network, "are_best": note.are_best}
    if note.network.code_sha256 != code_sha256:
        say(f"{weights}: was trained with another version of the file of --arch (SHA-256)")
    return {"arguments": note.network.arguments}


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
