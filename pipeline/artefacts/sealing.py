"""Sealing an artefact: its last file names all others by digest, and the artefacts that
it was made from. The same module reads sealed artefacts, validated.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline.artefacts import contents, measurements, provenance
from pipeline.artefacts.facts import Facts, Sealed
from pipeline.configs.base import StageConfig
from pipeline.configs.compare import CompareConfig, EnsembleConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.study import BenchmarkConfig, CheckConfig, Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.runtime.disk import sha256, write_json

C = TypeVar("C", bound=StageConfig)
F = TypeVar("F", bound=Facts)
S_co = TypeVar("S_co", bound=Sealed, covariant=True)
R = TypeVar("R")
LONGEST_VALUE = 60  # ours: of a wrong value in a message, in characters


@dataclass(frozen=True)
class Artefact(Generic[C, F, S_co]):
    """One sort of artefact: the config that names it, the facts that its stage writes,
    and its whole last file.
    """

    config: type[C]
    facts: type[F]
    sealed: type[S_co]

    def seal(
        self,
        config: C,
        root: Path,
        files: Iterable[Path],
        facts: F,
        known: Mapping[str, str] | None = None,
    ) -> None:
        """Complete an artefact: write its last file, with config, digests of `files`
        and inputs, provenance and `facts`.

        `known` are digests, by name, of files whose content has been digested in
        another way than by all bytes.
        """
        folder = root / config.folder
        digests = {
            path.relative_to(folder).as_posix(): sha256(path) for path in sorted(files)
        } | dict(known or {})
        value = {
            "stage": config.stage,
            "hash": config.hash,
            "digest": digest_of(digests),
            "files": digests,
            "inputs": {
                named.folder.as_posix(): unseal(named, root).digest for named in config.inputs
            },
            **facts.plain(),
            "config": config.model_dump(mode="json"),
            "provenance": provenance.collect().plain(),
        }
        write_json(folder / config.last_file, value)

    def unseal(self, config: C, root: Path) -> S_co:
        """The last file of a complete artefact.

        Raises:
            InputError: it does not exist, it is damaged, or it was made from inputs
                that have since been replaced.
        """
        path = root / config.folder / config.last_file
        if not path.is_file():
            raise InputError(f"{path}: does not exist; run the {config.stage} stage first")
        damaged = f"{path}: is damaged; remove {path.parent} to make it anew"
        try:
            sealed = self.sealed.load(path.read_bytes())
        except ValidationError as error:
            raise InputError(f"{damaged} ({fault(error)})") from None
        for named in config.inputs:
            made_from = sealed.inputs.get(named.folder.as_posix())
            if made_from is None:
                raise InputError(f"{damaged} (inputs.{named.folder}: is missing)")
            present = unseal(named, root).digest
            if made_from != present:
                raise InputError(
                    f"{path}: was made from {named.folder} with digest {made_from[:12]}, but that"
                    f" now has {present[:12]}; remove {root / config.folder} to make it anew"
                )
        return sealed


DATASET = Artefact(PrepareConfig, contents.ManifestFacts, contents.Manifest)
RUN = Artefact(TrainConfig, contents.RunFacts, contents.SealedRun)
PREDICTIONS = Artefact(EvaluateConfig, contents.PredictionsFacts, contents.SealedPredictions)
RESULT = Artefact(EnsembleConfig, contents.ResultFacts, contents.SealedResult)
COMPARISON = Artefact(CompareConfig, contents.ComparisonFacts, contents.SealedComparison)
CHECK = Artefact(CheckConfig, contents.CheckFacts, contents.SealedCheck)
REPORT = Artefact(Study, contents.ReportFacts, contents.SealedReport)
EVALUATE_BENCHMARK = Artefact(
    BenchmarkConfig, measurements.EvaluateFacts, measurements.SealedEvaluate
)
PREPARE_BENCHMARK = Artefact(BenchmarkConfig, measurements.PrepareFacts, measurements.SealedPrepare)
TRAIN_BENCHMARK = Artefact(BenchmarkConfig, measurements.TrainFacts, measurements.SealedTrain)

STAGES: Mapping[str, Artefact[Any, Any, Sealed]] = {
    artefact.config.stage: artefact
    for artefact in (DATASET, RUN, PREDICTIONS, RESULT, COMPARISON, CHECK, REPORT)
}
BENCHMARKS: Mapping[str, Artefact[BenchmarkConfig, Any, Sealed]] = {
    "evaluate": EVALUATE_BENCHMARK,
    "prepare": PREPARE_BENCHMARK,
    "train": TRAIN_BENCHMARK,
}


def unseal(config: StageConfig, root: Path) -> Sealed:
    """The last file of a complete artefact of any sort; raises as `Artefact.unseal`."""
    sealed: Sealed = STAGES[config.stage].unseal(config, root)
    return sealed


def read_benchmark(path: Path) -> tuple[str, Sealed]:
    """Return the subject of a benchmark.json, and its content.

    Raises:
        InputError: it is damaged, or of another version.
    """
    damaged = f"{path}: is damaged; remove {path.parent} to make it anew"
    try:
        what: str = json.loads(path.read_bytes())["config"]["what"]
        return what, BENCHMARKS[what].sealed.load(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{damaged} ({fault(error)})") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(damaged) from None


def read_rows(path: Path, rows: TypeAdapter[list[R]]) -> list[R]:
    """The rows of a file beside the last one: JSON, or a row on each line (.jsonl).

    Raises:
        InputError: it is damaged.
    """
    content = path.read_bytes()
    if path.suffix == ".jsonl":
        content = b"[" + b",".join(content.splitlines()) + b"]"
    try:
        return rows.validate_json(content)
    except ValidationError as error:
        raise InputError(
            f"{path}: is damaged; remove {path.parent} to make it anew ({fault(error)})"
        ) from None


def digest_of(files: Mapping[str, str]) -> str:
    """The digest of an artefact, from the names and digests of its files."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()


def fault(error: ValidationError) -> str:
    """Describe the first error of a file: field, value, what would be valid."""
    first = error.errors(include_url=False)[0]
    field, value = ".".join(map(str, first["loc"])), repr(first["input"])
    if first["type"] == "missing":
        return f"{field}: is missing"
    value = value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]} ..."
    return f"{field} = {value}: {first['msg']}" if field else first["msg"]
