"""Stage: the small files of a study, copied to where they are kept; and its figures, made again from the hits among them."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from pipeline.artefacts import storage
from pipeline.artefacts.result import MISTAKES, figures
from pipeline.artefacts.verdict import VERDICTS, read_verdicts
from pipeline.stages.check import judge_all
from pipeline.stages.compare import judge
from pipeline.study import CompareConfig, EnsembleConfig, InputError, StageConfig, Study

HITS = "hits.parquet"
DAMAGED = "is not the file that was sealed"
KEPT = {
    "train": ("metrics.jsonl",),
    "evaluate": (HITS,),
    "ensemble": (HITS, MISTAKES),
    "compare": (HITS,),
    "check": (VERDICTS,),
}


def publish(study: Study, root: Path, kept: Path) -> list[Path]:
    """Copy what the report and the verdicts rest on to the folder `kept`, a root in which they can be made again: no data
    set, weights or scores of images, but small pictures of the worst mistakes. Returns the copies.

    Raises:
        InputError: the study is not complete, or `kept` is its root.
    """
    if kept.resolve() == root.resolve():
        raise InputError(f"--to {kept}: is the root itself; expected another folder")
    storage.unseal(study.check, root)
    copies = []
    for config in study.stages[:-1]:
        storage.unseal(config, root)
        for name in (*KEPT.get(config.stage, ()), config.last_file):  # the last file last: then the copy is complete
            copies.append(kept / config.folder / name)
            storage.write_atomic(copies[-1], (root / config.folder / name).read_bytes())
    return copies


def recount(study: Study, root: Path) -> tuple[int, list[str]]:
    """Make every figure of a study again from the hits of every image; returns how many, and a line for each that is another.

    Files that are kept are also compared with the digests that the artefact was sealed with.

    Raises:
        InputError: the study is not complete.
    """
    count, problems = 0, list[str]()

    def compare(path: Path, stored: Any, again: Any) -> None:
        nonlocal count
        found = dict(_leaves(stored))
        for name, value in _leaves(again):
            count += 1
            if not _is_same(value, found.get(name)):
                problems.append(f"{path}: {name} is {found.get(name)}, and the hits give {value}")

    for config in study.stages[:-1]:
        facts = storage.unseal(config, root)
        for name in KEPT.get(config.stage, ()):
            path = root / config.folder / name
            sealed = facts["files"].get(name)  # a training's metrics are not
            if not path.is_file() or (sealed is not None and storage.sha256(path) != sealed):
                problems.append(f"{path}: {DAMAGED}")
            elif name == HITS:
                again = _again(config, root)
                compare(root / config.folder / config.last_file, {key: facts[key] for key in again}, again)
    if any(problem.endswith(DAMAGED) for problem in problems):
        return count, problems  # such a file may be unreadable
    stored = [asdict(verdict) for verdict in read_verdicts(study.check, root)[0]]
    compare(root / study.check.folder / VERDICTS, stored, [asdict(verdict) for verdict in judge_all(study.check, root)])
    return count, problems


def _again(config: StageConfig, root: Path) -> dict[str, Any]:
    """The figures of an artefact, from its hits."""
    table = parquet.read_table(root / config.folder / HITS)
    columns = {name: table[name].to_numpy() for name in table.column_names if name != "image_id"}
    if isinstance(config, EnsembleConfig):
        return figures(columns)
    if isinstance(config, CompareConfig):
        names = [[name for name in columns if name.startswith(f"rank_{arm}_")] for arm in range(len(config.arms))]
        ranks = [np.stack([columns[name] for name in of_arm]) for of_arm in names]
        best = [row["best"]["member"] for row in storage.unseal(config, root)["top1"]] if config.models == 1 else None
        return judge([arm.name for arm in config.arms], ranks, best)
    return {}


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What is in nested dicts and lists, each by its way there."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{name}[{number}]")
    else:
        yield name, value


def _is_same(value: Any, stored: Any) -> bool:
    if isinstance(value, float) and isinstance(stored, float):
        return math.isclose(value, stored, rel_tol=1e-6, abs_tol=1e-12)  # ours: other versions of scipy round otherwise
    return bool(value == stored)
