"""Copy the small files of a study to where they are kept, and make its figures again
from the hits among them.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from pipeline.artefacts import sealing
from pipeline.artefacts.metrics import validations
from pipeline.artefacts.predictions import HITS, Predictions
from pipeline.artefacts.result import figures
from pipeline.artefacts.soundness import PUBLISHED, damages
from pipeline.artefacts.verdict import read_verdicts
from pipeline.configs.base import StageConfig
from pipeline.configs.compare import CompareConfig, EnsembleConfig
from pipeline.configs.study import CheckConfig, Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.runtime import disk
from pipeline.stages.check import judge_all
from pipeline.stages.compare import best_members, judge
from pipeline.stages.ensemble import chosen_members


def publish(study: Study, root: Path, kept: Path) -> list[Path]:
    """Copy the small files of a study to the folder `kept`, and return the copies.

    That folder is a root in which the report and the verdicts can be made again. It
    has no data set, weights or scores of images, but small pictures of the worst
    mistakes.

    Raises:
        InputError: the study is not complete, a file is not the one that was sealed, or
            `kept` is the root of the study. Then nothing is written.
    """
    if kept.resolve() == root.resolve():
        raise InputError(f"--to {kept}: is the root itself; expected another folder")
    sealing.unseal(study.check, root)
    _refuse_other_root(study, root, kept)
    if problems := _damages(study, root):
        raise InputError(f"{problems[0]}; nothing is published")
    copies = []
    disk.write_atomic(kept / PUBLISHED, b"Small files of studies, by going-deeper publish.\n")
    for config in study.stages[:-1]:
        # the artefact is incomplete until all its files are copied
        (kept / config.folder / config.last_file).unlink(missing_ok=True)
        for name in (*config.kept, config.last_file):
            copies.append(kept / config.folder / name)
            disk.copy(root / config.folder / name, copies[-1])
    return copies


def _refuse_other_root(study: Study, root: Path, kept: Path) -> None:
    """Raise InputError if a folder to publish in is a root that people work in, or has
    another artefact under a name of this study.
    """
    is_root = any((kept / config.room).exists() for config in study.stages)
    if is_root and not (kept / PUBLISHED).is_file():
        raise InputError(
            f"--to {kept}: is a root with artefacts that were not published; expected a folder of"
            " its own"
        )
    for config in study.stages[:-1]:
        last = kept / config.folder / config.last_file
        if last.is_file() and sealing.STAGES[config.stage].load(last).digest != (
            sealing.unseal(config, root).digest
        ):
            raise InputError(
                f"--to {kept}: {config.folder} there has other content, which other published"
                " studies may need; expected another folder"
            )


def recount(study: Study, root: Path) -> tuple[int, list[str]]:
    """Make every figure of a study again from the hits of every image.

    Return the number of figures, and a line for each that differs. A training keeps no
    hits of its raw weights, so its errors are compared with the last of its metrics.

    Kept files are also compared with the digests in the seal of the artefact, and the
    hits of a result's or an arm's members with those of their evaluations.

    Raises:
        InputError: the study is not complete.
    """
    if problems := _damages(study, root):
        return 0, problems  # such a file may be unreadable
    count = 0
    for config in study.stages[:-1]:
        try:
            stored, again = _stored_and_again(config, root)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            problems.append(
                f"{root / config.folder / config.last_file}: cannot be counted again"
                f" ({type(error).__name__}: {error})"
            )
            continue
        count += len(again)
        source = "metrics" if isinstance(config, TrainConfig) else "hits"
        problems += [
            f"{root / config.folder / config.last_file}: {name} is {stored.get(name)}, and the"
            f" {source} give {again.get(name)}"
            for name in dict.fromkeys((*again, *stored))
            if not _is_same(again.get(name), stored.get(name))
        ]
    return count, problems


def _damages(study: Study, root: Path) -> list[str]:
    """Return a line for each kept file of a study that is not what was sealed."""
    stages = study.stages[:-1]
    # an input that is damaged is named once, and not by each artefact made from it
    return list(dict.fromkeys(x for config in stages for x in damages(config, root, config.kept)))


def _stored_and_again(config: StageConfig, root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the figures of an artefact by name, twice: as stored, and made again from
    the hits. For a training they come from its metrics.
    """
    figured: dict[str, Any]
    if isinstance(config, TrainConfig):
        _, last = validations(config, root)[-1]
        return sealing.RUN.unseal(config, root).validation.plain(), last.plain()
    if isinstance(config, CheckConfig):
        verdicts = (read_verdicts(config, root)[0], judge_all(config, root))
        stored, again = ({verdict.claim: asdict(verdict) for verdict in side} for side in verdicts)
        return dict(_leaves(stored)), dict(_leaves(again))
    if isinstance(config, EnsembleConfig):
        hits = _hits(config, root)
        chosen = chosen_members(config, root)
        figured = {**figures(hits).plain(), "chosen_members": chosen}
        ranks = {
            f"rank_member_{k}": (member, config.policy) for k, member in enumerate(config.members)
        }
        if len(chosen) == 1:
            ranks["rank"] = (config.members[chosen[0]], config.policy)
    elif isinstance(config, CompareConfig):
        hits = _hits(config, root)
        columns = [
            [name for name in hits if name.startswith(f"rank_{arm}_")]
            for arm in range(len(config.arms))
        ]
        arms = [np.stack([hits[name] for name in of_arm]) for of_arm in columns]
        top1, top5 = judge([arm.name for arm in config.arms], arms, best_members(config, root))
        figured = {
            "top1": [row.plain() for row in top1],
            "top5": [row.plain() for row in top5],
        }
        members = [
            (k, number, member)
            for k, arm in enumerate(config.arms)
            for number, member in enumerate(arm.members)
        ]
        ranks = {
            f"rank_{k}_{number}": (member, config.policy_of(config.arms[k]))
            for k, number, member in members
        }
        ranks = ranks if config.models == 1 else {}
    else:
        return {}, {}
    facts = sealing.unseal(config, root).plain()
    expected = {f"{name} of the members": True for name in ranks}
    equal = {
        f"{name} of the members": np.array_equal(
            hits[name], Predictions(member, root).ranks(policy)
        )
        for name, (member, policy) in ranks.items()
    }
    return (
        dict(_leaves({name: facts.get(name) for name in figured})) | expected,
        dict(_leaves(figured)) | equal,
    )


def _hits(config: StageConfig, root: Path) -> dict[str, np.ndarray]:
    table = parquet.read_table(root / config.folder / HITS)
    return {name: table[name].to_numpy() for name in table.column_names if name != "image_id"}


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value in nested dicts and lists, with its path."""
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
        # ours: other versions of scipy round differently
        return math.isclose(value, stored, rel_tol=1e-6, abs_tol=1e-12)
    return bool(value == stored)
