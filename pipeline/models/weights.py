"""Read a file's tensors by name: .caffemodel, .safetensors, or a file that torch saved.

If a file holds several sets of weights, the user chooses; nothing is guessed.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from pipeline.configs.network import NOTE, NetworkConfig, WeightsNote
from pipeline.configs.wrong_fields import one_line
from pipeline.errors import InputError
from pipeline.models.pickles import read_pickle
from pipeline.models.weight_files import is_index, read_shards, weights_file

MOST_LEVELS = 32  # ours: checkpoints have some three
TOP = "."  # the key of tensors at the top, in no dictionary of their own


def read_weights(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """Return a file's tensors by name.

    The file is a .caffemodel (its tensors get our names), a .safetensors or an index of
    several, or a PyTorch state dict, alone or in a checkpoint; a folder stands for the
    one in it. `key` chooses among several state dicts, for
    instance `model_ema` or `callbacks.average.weights`; it may also be the beginning of
    the tensors' own names.

    Raises:
        InputError: there is no such file, its content does not fit its name, or it
            holds several sets of weights and `key` names none of them.
    """
    path = weights_file(path)
    if path.suffix == ".caffemodel":
        if key is not None:
            raise InputError(
                f"{path}: holds one set of weights, without a key; go without --weights-key {key}"
            )
        from pipeline.models.caffe import googlenet_weights  # late: few machines have protobuf

        return googlenet_weights(path)
    if path.suffix == ".safetensors":
        return _of_key(path, [(TOP, _safetensors(path))], key)
    if is_index(path):
        return _of_key(path, [(TOP, read_shards(path))], key)
    content = read_pickle(path)
    # other tensors in a checkpoint, such as a mean or the state of a random
    # generator, have one dimension
    sets = list(_sets(content, 2, set())) or list(_sets(content, 0, set()))
    if not sets:
        raise InputError(f"{path}: holds no state dict; expected tensors by name")
    return _of_key(path, sets, key)


def note_in(path: Path) -> WeightsNote | None:
    """Return the note in a file of our weights; None where there is none.

    Files of earlier versions do not say whether their weights are the best ones.
    """
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    try:
        # the others are of earlier versions
        if note := metadata.get(NOTE) or metadata.get("network_and_pixels"):
            return WeightsNote.model_validate_json(note)
        shape = metadata.get("network")
        return WeightsNote(network=NetworkConfig.model_validate_json(shape)) if shape else None
    except ValidationError as error:
        raise InputError(
            f"{path}: its note on its network cannot be read ({one_line(error)}); expected the"
            " options of a GoogLeNet of this version of going-deeper"
        ) from None


def under_names(
    expected: Collection[str], weights: dict[str, Tensor], path: Path
) -> tuple[dict[str, Tensor], str]:
    """Return the weights under the names that a network expects, and a remark.

    Trainers write `module.`, `model.` and the like before all names of a network. That
    prefix is taken off, and the remark names it; it is empty where nothing was done.

    Raises:
        InputError: the file holds the network under several prefixes.
    """
    needed = [name for name in expected if not name.endswith("num_batches_tracked")]
    if not needed or all(name in weights for name in needed):
        return weights, ""
    ends = f".{needed[0]}"
    prefixes = [name.removesuffix(ends) for name in weights if name.endswith(ends)]
    fits = [each for each in prefixes if all(f"{each}.{name}" in weights for name in needed)]
    if len(fits) > 1:
        raise InputError(
            f"{path}: holds {len(fits)} sets of weights: {', '.join(fits)}; choose one by"
            " --weights-key KEY"
        )
    if not fits:
        return weights, ""
    own = _with_prefix(weights, fits[0])
    others = [name for name in weights if not name.startswith(f"{fits[0]}.")]
    rest = f", and {len(others)} tensors are left out (the first: {others[0]})" if others else ""
    return own, f"the names of its weights begin with {fits[0]}., which is taken off{rest}"


def _with_prefix(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    begin = f"{prefix}."
    return {name.removeprefix(begin): t for name, t in weights.items() if name.startswith(begin)}


def _of_key(
    path: Path, sets: Sequence[tuple[str, dict[str, Tensor] | list[Tensor]]], key: str | None
) -> dict[str, Tensor]:
    """Return the set that `key` names, or the only one."""
    choices = [tensors for name, tensors in sets if key in (None, name)]
    if key is not None and not choices:
        choices = [tensors for name, tensors in sets if name.startswith(f"{key}.")]
    if key is not None and not choices:
        flat = [_with_prefix(tensors, key) for _, tensors in sets if isinstance(tensors, dict)]
        choices = [tensors for tensors in flat if tensors]
    if len(choices) != 1:
        listed = ", ".join(f"{name} ({_size(tensors)})" for name, tensors in sets)
        problem = (
            f"holds {len(sets)} sets of weights: {listed}; choose one by --weights-key KEY"
            if key is None or len(choices) > 1
            else f"has no weights under --weights-key {key}; expected one of {listed}"
        )
        raise InputError(f"{path}: {problem}")
    if not isinstance(choices[0], dict):
        name = key or sets[0][0]
        raise InputError(
            f"{path}: {'' if name == TOP else f'{name} '}is a list of tensors without names (or"
            " with keys that are no text), which fits no network; expected tensors by name"
        )
    return choices[0]


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path}: is not a safetensors file: {error}") from None


def _sets(
    content: Any, dimensions: int, seen: set[int], at: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, Tensor] | list[Tensor]]]:
    """Yield the sets of weights in a checkpoint, each with its key.

    A set holds a floating point tensor of at least `dimensions` dimensions. Its name
    does not matter. The state of an optimiser is no set.
    """
    if id(content) in seen or not isinstance(content, Mapping | Sequence) or _is_text(content):
        return
    if len(at) > MOST_LEVELS:
        return
    seen.add(id(content))
    if isinstance(content, Mapping) and {"state", "param_groups"} <= content.keys():
        return
    items = list(content.items() if isinstance(content, Mapping) else enumerate(content))
    tensors = {name: value for name, value in items if isinstance(value, Tensor)}
    if any(value.is_floating_point() and value.ndim >= dimensions for value in tensors.values()):
        # torch's own dictionary also has the versions of its layers
        whole = content if isinstance(content, dict) and len(tensors) == len(items) else tensors
        by_name = all(isinstance(name, str) for name in tensors)
        yield ".".join(at) or TOP, whole if by_name else list(tensors.values())
    for name, value in items:
        yield from _sets(value, dimensions, seen, (*at, str(name)))


def _is_text(content: object) -> bool:
    return isinstance(content, str | bytes)


def _size(tensors: dict[str, Tensor] | list[Tensor]) -> str:
    names = "" if isinstance(tensors, dict) else " without names"
    return f"{len(tensors)} tensor{'s' * (len(tensors) != 1)}{names}"
