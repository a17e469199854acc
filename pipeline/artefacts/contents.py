"""What the last file of each artefact holds, by name and type: a key renamed on one
side does not pass the type checker.
"""

from typing import Any, NotRequired, TypedDict


class Provenance(TypedDict):
    """Where an artefact comes from."""

    commit: str
    dirty: bool
    code: NotRequired[str]  # its digest, of a copy that jobs run or where no commit tells
    command: str
    python: str
    versions: dict[str, str]
    environment: NotRequired[dict[str, str]]  # what of it may move last bits
    host: str
    machine: str
    finished_at: str


class Sealed(TypedDict):
    """What every last file holds. `digest` is that of `files`, `inputs` are the digests
    of what it was made from.
    """

    stage: str
    hash: str
    digest: str
    files: dict[str, str]
    inputs: dict[str, str]
    config: dict[str, Any]
    provenance: Provenance


class Completeness(TypedDict, total=False):
    """How a data set compares with ILSVRC-2012, where it says to be that."""

    is_complete: bool
    verdict: str


class ManifestFacts(Completeness):
    """A data set. Lists and counts go by class, dictionaries of numbers by split."""

    classes: list[str]
    class_words: NotRequired[list[str]]
    num_files: int
    num_images: dict[str, int]
    num_rejected: int
    num_unreadable: int
    images_per_class: dict[str, list[int]]
    num_leaks: int
    num_bytes: int
    shards: str
    source_fingerprint: str
    source_md5: dict[str, str]


class Manifest(Sealed, ManifestFacts):
    """manifest.json."""


class MachineFacts(TypedDict):
    """On what a training runs."""

    world_size: int
    device: str
    hardware: NotRequired[dict[str, str]]  # runtime/device.py
    operators: bool
    area_by_library: bool


class TrainingFacts(MachineFacts):
    """A training at its end."""

    steps: int
    seconds: float
    attempts: int | None
    core_or_gpu_hours: float
    num_parameters: int
    validation: dict[str, float]


class RunFacts(TrainingFacts):
    """The same, with the step of its best weights."""

    best_step: int


class RunOrigin(RunFacts):
    """What a model card tells."""

    provenance: Provenance


class SealedRun(Sealed, RunFacts):
    """run.json."""

    elsewhere: NotRequired[list[dict[str, Any]]]  # of earlier attempts, what last bits depend on


class EvaluationFacts(TypedDict):
    """Who evaluated what."""

    num_images: int
    world_size: int
    device: str
    num_rejected: int
    notes: NotRequired[list[str]]  # what is done otherwise than by the weights' makers


class PredictionsFacts(EvaluationFacts):
    """An evaluation, with what its chunks said."""

    bad_images: dict[str, str]
    hardware: NotRequired[dict[str, str]]  # runtime/device.py
    engines: list[str]
    core_or_gpu_seconds: float
    core_or_gpu_hours: float


class SealedPredictions(Sealed, PredictionsFacts):
    """predictions.json."""


class SubsetErrors(TypedDict):
    """Errors of an ensemble of some of the members."""

    members: list[int]
    top1_error: float
    top5_error: float


class Figures(TypedDict):
    """All errors that a result's hits give, with Wilson's intervals."""

    num_images: int
    subsets: list[SubsetErrors]
    top1_error: float
    top1_interval: list[float]
    top1_error_of_members: list[float]
    top5_error: float
    top5_interval: list[float]
    top5_error_of_members: list[float]


class ChanceFacts(TypedDict):
    """Hits, and those that guessing would give (statistics/chance.py)."""

    top: int
    hits: int
    images: int
    expected: float
    p_value: float


class ResultFacts(Figures):
    """One cell of Table 3."""

    policy: str
    num_members: int
    chosen_members: list[int]
    num_classes: int
    classes: list[str]
    chance: NotRequired[list[ChanceFacts]]
    may_be_guessing: NotRequired[bool]


class SealedResult(Sealed, ResultFacts):
    """result.json."""


class ComparisonFacts(TypedDict):
    """Arms against the first: a row an arm, for either error."""

    question: str
    models: int
    num_images: int
    policies: list[str]
    num_seeds: int
    decided_on: int
    top1: list[dict[str, Any]]
    top5: list[dict[str, Any]]


class ReportFacts(TypedDict):
    """A report: what the screen shows of it."""

    summary: str


class SealedReport(Sealed, ReportFacts):
    """report.json."""


class SealedComparison(Sealed, ComparisonFacts):
    """comparison.json."""
