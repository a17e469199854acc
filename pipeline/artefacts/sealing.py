"""Sealing an artefact: its last file names all others by digest, and the artefacts that
it was made from.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, overload

from pipeline.artefacts import contents, provenance
from pipeline.configs.base import StageConfig
from pipeline.configs.compare import CompareConfig, EnsembleConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.runtime.disk import sha256, write_json


def seal(
    config: StageConfig,
    root: Path,
    files: Iterable[Path],
    facts: Mapping[str, object],
    known: Mapping[str, str] | None = None,
) -> None:
    """Complete an artefact: write its last file, with config, digests of `files` and
    inputs, provenance and `facts`.

    `known` are digests, by name, of files whose content has been digested in another
    way than by all bytes.
    """
    folder = root / config.folder
    digests = {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(files)} | dict(
        known or {}
    )
    value = {
        "stage": config.stage,
        "hash": config.hash,
        "digest": digest_of(digests),
        "files": digests,
        "inputs": {
            named.folder.as_posix(): unseal(named, root)["digest"] for named in config.inputs
        },
        **facts,
        "config": config.model_dump(mode="json"),
        "provenance": provenance.collect(),
    }
    write_json(folder / config.last_file, value)


def digest_of(files: Mapping[str, str]) -> str:
    """An artefact's digest, of its files' names and digests."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()


@overload
def unseal(config: PrepareConfig, root: Path) -> contents.Manifest: ...


@overload
def unseal(config: TrainConfig, root: Path) -> contents.SealedRun: ...


@overload
def unseal(config: EvaluateConfig, root: Path) -> contents.SealedPredictions: ...


@overload
def unseal(config: EnsembleConfig, root: Path) -> contents.SealedResult: ...


@overload
def unseal(config: CompareConfig, root: Path) -> contents.SealedComparison: ...


@overload
def unseal(config: Study, root: Path) -> contents.SealedReport: ...


@overload
def unseal(config: StageConfig, root: Path) -> contents.Sealed: ...


def unseal(config: StageConfig, root: Path) -> Any:
    """The last file of a complete artefact.

    Raises:
        InputError: it does not exist, or it was made from inputs that have since been
            replaced.
    """
    path = root / config.folder / config.last_file
    if not path.is_file():
        raise InputError(f"{path}: does not exist; run the {config.stage} stage first")
    try:
        value: dict[str, Any] = json.loads(path.read_text())
        recorded = {
            named.folder: value["inputs"][named.folder.as_posix()] for named in config.inputs
        }
        value["digest"], value["files"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is damaged; remove {path.parent} to make it anew") from None
    for named in config.inputs:
        made_from = recorded[named.folder]
        present = unseal(named, root)["digest"]
        if made_from != present:
            raise InputError(
                f"{path}: was made from {named.folder} with digest {made_from[:12]}, but that now"
                f" has {present[:12]}; remove {root / config.folder} to make it anew"
            )
    return value
