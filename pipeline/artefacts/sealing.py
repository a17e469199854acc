"""Sealing of artefacts, and reading them again, validated.

The last file of an artefact names all its other files by digest, and the artefacts that
it was made from. No file is used before it is compared with its digest, once in a
process.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline.artefacts import check_facts, contents, measurements, provenance
from pipeline.artefacts.comparison_facts import ComparisonFacts, SealedComparison
from pipeline.artefacts.digests import SHOWN, compare, digest_of, once, remedy_of, seal_of
from pipeline.artefacts.facts import Facts, Sealed
from pipeline.artefacts.selftest_facts import SealedSelftest, SelftestFacts
from pipeline.configs.base import StageConfig
from pipeline.configs.benchmark import BenchmarkConfig, ScalingConfig
from pipeline.configs.compare import CompareConfig, EnsembleConfig
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.prepare import PrepareConfig
from pipeline.configs.selftest import SelftestConfig
from pipeline.configs.study import CheckConfig, Study
from pipeline.configs.train import TrainConfig
from pipeline.errors import InputError
from pipeline.runtime.disk import as_json, sha256, write_json

C = TypeVar("C", bound=StageConfig)
F = TypeVar("F", bound=Facts)
S_co = TypeVar("S_co", bound=Sealed, covariant=True)
R = TypeVar("R")
LONGEST_VALUE = 60  # ours: characters of a wrong value that a message shows


@dataclass(frozen=True)
class Artefact(Generic[C, F, S_co]):
    """One sort of artefact.

    It has the type of its config, of the facts that its stage writes, and of its last
    file.
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
        timed: Iterable[Path] = (),
    ) -> None:
        """Complete an artefact: write its last file.

        That holds the config, the digests of `files` and of the inputs, the provenance
        and `facts`. `known` has the digests, by name, of files that are digested in
        another way than by all their bytes. `timed` files hold times of day.
        """
        folder = root / config.folder
        digests = _digests(folder, files) | dict(known or {})
        value = {
            "stage": config.stage,
            "hash": config.hash,
            "digest": digest_of(digests),
            "files": digests,
            "inputs": {
                source.folder.as_posix(): unseal(source, root).digest for source in config.inputs
            },
            "timed": _digests(folder, timed),
            **facts.plain(),
            "config": config.model_dump(mode="json"),
            "provenance": provenance.collect().plain(),
        }
        write_json(folder / config.last_file, value | {"seal": seal_of(value)})

    def unseal(self, config: C, root: Path) -> S_co:
        """Return the last file of a complete artefact.

        Raises:
            InputError: the file does not exist, it is damaged, or an input was replaced
                after the artefact was made from it; so for all inputs, to the bottom.
        """
        path, remedy = (
            root / config.folder / config.last_file,
            remedy_of(config, root, config.last_file),
        )
        if not path.is_file():
            raise InputError(f"{path}: does not exist; run the {config.stage} stage first")
        try:
            sealed = self.load(path)
        except InputError as error:
            raise InputError(f"{error}; {remedy}") from None
        if sealed.hash != config.hash:
            raise InputError(
                f"{path}: was sealed as {sealed.stage} {sealed.hash}; expected {config.hash};"
                f" {remedy}"
            )
        for source in config.inputs:
            digest = sealed.inputs.get(source.folder.as_posix())
            if digest is None:
                raise InputError(f"{path}: names no input {source.folder}; {remedy}")
            present = unseal(source, root).digest
            if digest != present:
                raise InputError(
                    f"{path}: was made from {source.folder} with digest {digest[:12]}, but that"
                    f" now has {present[:12]}; remove {root / config.folder} to make it anew"
                )
        return sealed

    def load(self, path: Path) -> S_co:
        """Return a last file, once it is compared with its own digest.

        Raises:
            InputError: it is damaged.
        """
        return once(path, self._load)

    def _load(self, path: Path) -> S_co:
        content = path.read_bytes()
        try:
            sealed = self.sealed.load(content)
        except ValidationError as error:
            raise InputError(f"{path}: is damaged ({fault(error)})") from None
        value = json.loads(content)
        is_whole = digest_of(sealed.files) == sealed.digest and as_json(value) == content
        if (found := seal_of(value)) != sealed.seal or not is_whole:
            raise InputError(
                f"{path}: is damaged (digest {found[:SHOWN]}, sealed {sealed.seal[:SHOWN]})"
            )
        return sealed


DATASET = Artefact(PrepareConfig, contents.ManifestFacts, contents.Manifest)
RUN = Artefact(TrainConfig, contents.RunFacts, contents.SealedRun)
PREDICTIONS = Artefact(EvaluateConfig, contents.PredictionsFacts, contents.SealedPredictions)
RESULT = Artefact(EnsembleConfig, contents.ResultFacts, contents.SealedResult)
COMPARISON = Artefact(CompareConfig, ComparisonFacts, SealedComparison)
CHECK = Artefact(CheckConfig, check_facts.CheckFacts, check_facts.SealedCheck)
REPORT = Artefact(Study, contents.ReportFacts, contents.SealedReport)
EVALUATE_BENCHMARK = Artefact(
    BenchmarkConfig, measurements.EvaluateFacts, measurements.SealedEvaluate
)
PREPARE_BENCHMARK = Artefact(BenchmarkConfig, measurements.PrepareFacts, measurements.SealedPrepare)
SCALING_BENCHMARK = Artefact(ScalingConfig, measurements.ScalingFacts, measurements.SealedScaling)
SELFTEST = Artefact(SelftestConfig, SelftestFacts, SealedSelftest)
TRAIN_BENCHMARK = Artefact(BenchmarkConfig, measurements.TrainFacts, measurements.SealedTrain)

STAGES: Mapping[str, Artefact[Any, Any, Sealed]] = {
    artefact.config.stage: artefact
    for artefact in (DATASET, RUN, PREDICTIONS, RESULT, COMPARISON, CHECK, REPORT)
}
BENCHMARKS: Mapping[str, Artefact[Any, Any, Sealed]] = {
    "evaluate": EVALUATE_BENCHMARK,
    "prepare": PREPARE_BENCHMARK,
    "scaling": SCALING_BENCHMARK,
    "selftest": SELFTEST,
    "train": TRAIN_BENCHMARK,
}


def unseal(config: StageConfig, root: Path) -> Sealed:
    """Return the last file of a complete artefact of any sort.

    Raises:
        InputError: see `Artefact.unseal`.
    """
    sealed: Sealed = STAGES[config.stage].unseal(config, root)
    return sealed


def sealed_file(config: StageConfig, root: Path, name: str) -> Path:
    """Return the path of a file of a complete artefact, compared with its digest.

    Raises:
        InputError: the artefact is not complete, or the file is missing or damaged.
    """
    sealed, path = unseal(config, root), root / config.folder / name
    compare(path, (sealed.files | sealed.timed).get(name), remedy_of(config, root))
    return path


def read_benchmark(path: Path) -> tuple[str, Sealed]:
    """Return which benchmark a benchmark.json is of, and its content.

    Raises:
        InputError: the file is damaged, or of another version.
    """
    try:
        what: str = json.loads(path.read_bytes())["config"]["what"]
        return what, BENCHMARKS[what].load(path)
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: is damaged") from None


def read_rows(path: Path, rows: TypeAdapter[list[R]]) -> list[R]:
    """Read the rows of a file of JSON, or of one with a row on each line (.jsonl).

    Raises:
        InputError: the file is damaged.
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


def _digests(folder: Path, paths: Iterable[Path]) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): once(path, sha256) for path in sorted(paths)}


def fault(error: ValidationError) -> str:
    """Return the first error of a file in words: field, value, what would be valid."""
    first = error.errors(include_url=False)[0]
    field, value = ".".join(map(str, first["loc"])), repr(first["input"])
    if first["type"] == "missing":
        return f"{field}: is missing"
    value = value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]} ..."
    return f"{field} = {value}: {first['msg']}" if field else first["msg"]
