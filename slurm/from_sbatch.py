"""A site file from a batch script that works."""

import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline.configs.wrong_fields import one_line
from pipeline.errors import InputError
from slurm.request import keys_of
from slurm.resources import Resources
from slurm.sbatch_script import read_script
from slurm.site import MOST_BYTES, Site
from slurm.surroundings import surroundings_of

# keys that hold for the script's own nodes; a stage without GPUs takes none of them
OF_NODES = (
    "partition",
    "qos",
    "constraint",
    "nodelist",
    "reservation",
    "exclusive",
    "nodes",
    "tasks_per_node",
    "gpus_per_node",
    "gres",
    "cpus_per_task",
    "cpus_per_gpu",
    "mem_gb",
    "mem_per_cpu",
    "mem_per_gpu",
    "timeout_min",
)
CORES = 8  # ours: of a preparation, which has a process for each


def site_from_sbatch(path: Path) -> tuple[str, int]:
    """Return the text of a site file, and the number of lines and options of the batch
    script that it could not take over. Comments in the text say which.

    Raises:
        InputError: there is no such script, it asks sbatch for nothing, or its options
            contradict each other.
    """
    script = read_script(_text(path))
    if not script.options:
        raise InputError(f"{path}: has no line that begins with #SBATCH; expected a batch script")
    keys, options = keys_of(script.options)
    around = surroundings_of(script.lines)
    late = [(f"line {number}", "sbatch ignores it behind a command") for number in script.late]
    notes = [*((f"--{name}", reason) for name, reason in options), *around.notes, *late]
    keys |= {"setup": around.setup} if around.setup else {}
    keys |= {"srun": around.srun} if around.srun else {}
    top = {"cluster": "slurm"} | ({"python": around.python} if around.python else {})
    try:
        text = "\n".join(
            [
                f"# From {path.name}, by going-deeper site from-sbatch. Read it, then try it with",
                f"# going-deeper site check. Not taken over:{'' if notes else ' nothing.'}",
                *_comments(notes),
                *_tables(top, keys, around.environment),
                "",
            ]
        )
        Site.model_validate(tomllib.loads(text))
    except ValidationError as error:
        raise InputError(f"{path}: {one_line(error)}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: has what no site file can have: {error}") from None
    return text, len(notes)


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected a batch script")
        if (size := path.stat().st_size) > MOST_BYTES:
            raise InputError(f"{path}: has {size} bytes, more than {MOST_BYTES}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is no text in UTF-8; expected a batch script") from None


def _comments(notes: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield a comment for each reason, with all that it is for."""
    reasons: dict[str, list[str]] = {}
    for what, reason in notes:
        reasons.setdefault(reason, []).append(what)
    for reason, whats in reasons.items():
        if all(what.startswith("--") for what in whats):
            yield _comment(f"{', '.join(whats)}: {reason}")
        else:
            yield _comment(f"{reason}:")
            yield from (_comment(f"  {what}") for what in whats)


def _comment(text: str) -> str:
    """Return a comment of one line, whatever a script has in it."""
    return "#   " + "".join(letter if letter.isprintable() else " " for letter in text)


def _tables(
    top: dict[str, Any], keys: dict[str, Any], environment: Mapping[str, str]
) -> Iterator[str]:
    """Yield the lines of a site file. What is for the script's own nodes is for stages
    with GPUs, if it has any.
    """
    own = {key: value for key, value in keys.items() if key in OF_NODES}
    if Resources.model_validate(keys).num_gpus:
        top |= {key: value for key, value in keys.items() if key not in OF_NODES}
    else:
        own, top = {}, top | keys
    sbatch = top.pop("sbatch", {})
    for_gpus = {name: value for name, value in sbatch.items() if "gpu" in name or "gres" in name}
    srun = top.get("srun", [])
    if own and any("gpu" in option for option in srun):
        own["srun"] = srun
        top["srun"] = [option for option in srun if "gpu" not in option]
    if own:
        sbatch = {name: value for name, value in sbatch.items() if name not in for_gpus}
    else:
        yield "# The script asks for no GPUs. Where nodes come whole with theirs, [train] and"
        yield "# [evaluate] need gpus_per_node = NUMBER and ask_for_gpus = false."
    yield from _lines(top)
    for name, table in (("sbatch", sbatch), ("environment", environment)):
        if table:
            yield from ("", f"[{name}]", *_lines(table))
    if not own:
        return
    limit = {"timeout_min": own["timeout_min"]} if "timeout_min" in own else {}
    cores = min(CORES, own.get("tasks_per_node", 1) * own.get("cpus_per_task", 1))
    hint = "# no GPUs, so not in the script's partition; say theirs (or its) here where one is due"
    yield from ("", "[prepare]", hint, *_lines({"cpus_per_task": cores} | limit))
    one_node = {} if "nodelist" in own else {"nodes": 1}
    for kind, nodes in (("train", {}), ("evaluate", one_node)):
        yield from ("", f"[{kind}]", *_lines(own | nodes))
        if for_gpus:
            yield from ("", f"[{kind}.sbatch]", *_lines(for_gpus))
    yield from ("", "[report]", hint, *_lines(limit))


def _lines(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if value != []:
            # JSON's texts, numbers and lists are TOML's
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"
