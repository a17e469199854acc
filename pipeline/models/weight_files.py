"""Which files hold a network's weights: one file, a folder of the Hub's, or shards with
an index.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipeline.errors import InputError
from pipeline.runtime import disk

Triple = tuple[float, float, float]
INDEX = ".safetensors.index.json"
# in the order in which libraries look for them
IN_A_FOLDER = (
    "model.safetensors",
    f"model{INDEX}",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "final/model.safetensors",  # of a run of ours
)
KINDS = "a .caffemodel, .safetensors, .pt, .pth, .ckpt or .bin file"


def weights_file(path: Path) -> Path:
    """Return the file of weights that a path stands for: itself, or the one in a folder
    in the form of the Hugging Face Hub, or of a run or an export of ours.

    Raises:
        InputError: there is no such file, or none or several in the folder.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(f"{path}: no such weights file; expected {KINDS}, or a folder with one")
    inside = [path / name for name in IN_A_FOLDER if (path / name).is_file()]
    if inside:
        return inside[0]
    others = sorted(
        each
        for each in path.iterdir()
        if each.is_file() and each.suffix in (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
    )
    if len(others) != 1:
        found = f"has {', '.join(each.name for each in others[:5])}" if others else "has no weights"
        raise InputError(f"{path}: is a folder that {found}; expected --weights FILE, {KINDS}")
    return others[0]


class Described(NamedTuple):
    """What the config.json beside weights says of a network of timm: how pixels of 0 to
    255 enter, and the side of the input; None where it does not say.
    """

    arch: str
    mean: Triple | None
    std: Triple | None
    input_size: int | None


def described_beside(weights: Path | None) -> Described:
    """Return what the config.json beside a file of weights says, as timm writes it.

    Raises:
        InputError: there is none, or it is not timm's.
    """
    path = None if weights is None else weights.parent / "config.json"
    if path is None or not path.is_file():
        raise InputError(
            "--arch: is missing; expected googlenet, torchvision:NAME, timm:NAME,"
            " FILE.py:FUNCTION, or a config.json of timm's beside --weights"
        )
    refuse_transformers(weights)
    try:
        content: Any = json.loads(path.read_text())
        arch = f"timm:{content['architecture']}"
        own = content.get("pretrained_cfg", content)
        mean, std = (
            tuple(255 * float(value) for value in own[name]) if own.get(name) else None
            for name in ("mean", "std")
        )
        side = int(own["input_size"][-1]) if own.get("input_size") else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise InputError(
            f"{path}: is no config of timm's, which has an architecture and a pretrained_cfg; give"
            " --arch"
        ) from None
    return Described(arch, mean, std, side)  # type: ignore[arg-type]


def refuse_transformers(weights: Path | None) -> None:
    """Refuse weights that transformers saved, by the config.json beside them: their
    names are neither timm's nor torchvision's. What it saved of a network of timm's is
    timm's.

    Raises:
        InputError: they are of transformers.
    """
    if weights is None or weights.name not in IN_A_FOLDER:
        return
    path = weights.parent / "config.json"
    try:
        content: Any = json.loads(path.read_text())
        kinds = [] if "architecture" in content else content["architectures"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if isinstance(kinds, list) and kinds:
        raise InputError(
            f"{path}: is of transformers ({kinds[0]}), whose weights have other names than timm's"
            " and torchvision's; give timm's weights of the same network (--arch timm:NAME), or"
            " --arch FILE.py:FUNCTION that builds it with transformers"
        )


def is_index(path: Path) -> bool:
    """Return whether a file lists the shards of weights."""
    return path.name.endswith(INDEX)


def digest_of_weights(path: Path, algorithm: str = "sha256") -> str:
    """Return the digest of a file of weights; that of an index covers its shards.

    Raises:
        InputError: a shard is missing, or the index cannot be read.
    """
    if not is_index(path):
        return disk.digest(path, algorithm)
    parts = [disk.digest(each, algorithm) for each in (path, *_shards(path))]
    return hashlib.new(algorithm, " ".join(parts).encode()).hexdigest()


def read_shards(path: Path) -> dict[str, Tensor]:
    """Return the tensors of all shards that an index lists.

    Raises:
        InputError: a shard is missing or damaged, or has not the tensors that the index
            says.
    """
    tensors: dict[str, Tensor] = {}
    placed = _weight_map(path)
    for shard in _shards(path):
        try:
            content = load_file(shard)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{shard}: is not a safetensors file: {error}") from None
        listed = {name for name, file in placed.items() if file == shard.name}
        if wrong := sorted(listed ^ content.keys()):
            how = "lacks" if wrong[0] in listed else "has a tensor that the index does not list:"
            raise InputError(f"{shard}: {how} {wrong[0]}; expected the shards of {path}")
        tensors |= content
    return tensors


def _shards(path: Path) -> list[Path]:
    shards = [path.parent / name for name in sorted(set(_weight_map(path).values()))]
    for shard in shards:
        if not shard.is_file():
            raise InputError(f"{path}: its shard {shard.name} is missing; expected it beside")
    return shards


def _weight_map(path: Path) -> dict[str, str]:
    """Return the file of each tensor, by its name."""
    try:
        content: Any = json.loads(path.read_text())
        placed = content["weight_map"]
        names = {str(name): str(file) for name, file in placed.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: has no weight_map; expected an index of safetensors") from None
    if wrong := next((file for file in names.values() if Path(file).name != file), None):
        raise InputError(f"{path}: names a shard {wrong!a}; expected names of files beside it")
    return names
