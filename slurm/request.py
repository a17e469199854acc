"""What a batch script asks sbatch for, in the keys of a site file."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from pipeline.configs.wrong_fields import one_line
from slurm.options import KEYS, REFUSED
from slurm.parameters import shows_secret
from slurm.resources import Resources, gpus_of

UNITS = {"K": 2**-20, "M": 2**-10, "G": 1.0, "T": 2.0**10}
RANKS = ("ntasks", "gpus", "gpus-per-task", "ntasks-per-gpu")  # together they make keys


def minutes(time: str) -> int:
    """Return a time limit of sbatch in minutes, rounded up.

    >>> [minutes(time) for time in ("90", "01:30:00", "1-0", "30:15", "2-12:30:00")]
    [90, 90, 1440, 31, 3630]
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", time)
    if match is None:
        raise ValueError("no time limit such as 1-12:00:00")
    days, *rest = match.groups()
    first, second, third = (int(part or 0) for part in rest)
    if days is not None:
        seconds = int(days) * 86400 + first * 3600 + second * 60 + third
    elif rest[2] is None:  # minutes, or minutes:seconds
        seconds = first * 60 + second
    else:
        seconds = first * 3600 + second * 60 + third
    return math.ceil(seconds / 60)


def gigabytes(memory: str) -> float:
    """Return memory of sbatch in GB; a number alone is in MB.

    >>> [gigabytes(memory) for memory in ("64G", "64000M", "4096", "0", "8gb")]
    [64.0, 62.5, 4.0, 0.0, 8.0]
    """
    match = re.fullmatch(r"(\d+)([KMGT]?)B?", memory.upper())
    if match is None:
        raise ValueError("no memory such as 64G")
    return int(match[1]) * UNITS[match[2] or "M"]


def _memory(memory: str) -> str:
    gigabytes(memory)
    return memory.upper().removesuffix("B")


def _whole(number: str) -> int:
    if not (match := re.match(r"\d+", number)):  # also of a range
        raise ValueError("no number")
    return int(match[0])


def _gpus(number: str) -> int | str:
    return int(number) if number.isdecimal() else number


CONVERSIONS: Mapping[str, Callable[[str], Any]] = {
    "nodes": _whole,
    "ntasks-per-node": _whole,
    "cpus-per-task": _whole,
    "cpus-per-gpu": _whole,
    "gpus-per-node": _gpus,
    "mem": gigabytes,
    "mem-per-cpu": _memory,
    "mem-per-gpu": _memory,
    "time": minutes,
    "exclusive": lambda value: value or True,
    "nice": lambda value: int(value or 100),  # sbatch(1)
}


def keys_of(options: Mapping[str, str]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Return the keys of a job's table that say the options, and the options that no
    key says, each with the reason.
    """
    keys: dict[str, Any] = {}
    notes = []
    for name, value in options.items():
        if name in RANKS:
            continue
        try:
            keys |= _key(name, value, keys)
        except ValidationError as error:
            notes.append((name, one_line(error)))
        except ValueError as error:
            notes.append((name, str(error)))
    try:
        notes += _share(keys, options)
    except ValueError as error:
        notes.append((", --".join(name for name in RANKS if name in options), str(error)))
    return keys, notes


def _key(name: str, value: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key of an option.

    Raises:
        ValueError: no key says it.
    """
    if name in REFUSED:
        raise ValueError(REFUSED[name])
    if shows_secret(value):
        raise ValueError("holds a secret")
    if "$" in value:
        raise ValueError(f"{value}: sbatch does not expand it")
    if name in ("signal", "array"):
        raise ValueError(f"the launcher sets it, see the key {KEYS[name]}")
    if name not in KEYS:
        new: dict[str, Any] = {"sbatch": {**keys.get("sbatch", {}), name: value or True}}
    else:
        new = {KEYS[name]: CONVERSIONS.get(name, str)(value)}
    Resources.model_validate(new)
    return new


def _share(keys: dict[str, Any], options: Mapping[str, str]) -> list[tuple[str, str]]:
    """Add the ranks and GPUs of each node, from numbers of all, and return notes."""
    notes = []
    nodes = keys.get("nodes", 1)
    if "ntasks" in options and "tasks_per_node" not in keys:
        keys["tasks_per_node"] = max(1, _whole(options["ntasks"]) // nodes)
    tasks = keys.get("tasks_per_node", 1)
    for name, share in (("gpus", 1 / nodes), ("gpus-per-task", tasks)):
        if name in options and "gpus_per_node" not in keys and not gpus_of(keys.get("gres")):
            kind, colon, number = options[name].rpartition(":")
            count = math.ceil(_whole(number) * share)
            keys["gpus_per_node"] = f"{kind}:{count}" if colon else count
    if "gpus_per_node" in keys and gpus_of(keys.get("gres")):
        notes.append(("gres", f"{keys.pop('gres')}: --gpus-per-node says it"))
    job = {key: keys[key] for key in ("gpus_per_node", "gres") if key in keys}
    gpus = Resources.model_validate(job).num_gpus
    if "ntasks-per-gpu" in options:
        tasks = keys["tasks_per_node"] = gpus * _whole(options["ntasks-per-gpu"])
    if tasks < gpus:
        cores = keys.get("cpus_per_task", 1) * tasks
        keys["tasks_per_node"] = gpus
        if "cpus_per_task" in keys:
            keys["cpus_per_task"] = max(1, cores // gpus)
        notes.append(
            ("ntasks-per-node", f"{tasks}: here each of {gpus} GPUs has a rank, with its cores")
        )
    return notes
