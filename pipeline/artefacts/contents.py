"""Models of what the files of each artefact hold.

The type checker finds a key that is renamed on one side only, and a file is validated
when it is read. Fields with a default may be absent: in files of an earlier version, or
where they say nothing.
"""

from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, ConfigDict

from pipeline.artefacts.facts import Facts, Sealed

# files of earlier versions have a line for each pair
Names = Annotated[list[str], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)]
Interval = tuple[float, float]  # bounds of a 95 % confidence interval


class Completeness(NamedTuple):
    """How a data set that claims to be ILSVRC-2012 compares with it."""

    is_complete: bool
    verdict: str


class ManifestFacts(Facts):
    """The facts of a data set.

    Lists have an entry for each class, dictionaries of numbers one for each split.

    `is_complete` and `verdict` are its `Completeness`. `left_out` counts clutter, by
    pattern (sources/clutter.py).
    """

    classes: list[str]
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
    class_words: list[str] | None = None
    is_complete: bool | None = None
    verdict: str | None = None
    left_out: dict[str, int] | None = None
    bytes_of_splits: dict[str, int] | None = None  # of the images, as they are stored


class Manifest(Sealed, ManifestFacts):
    """The file manifest.json."""


class Leak(Facts):
    """A line of leaks.jsonl: the validation and the training images with the same
    bytes.
    """

    sha256: str
    val: Names
    train: Names


class MachineFacts(Facts):
    """The machine that a training runs on."""

    world_size: int
    device: str
    operators: bool
    area_by_library: bool
    hardware: dict[str, str] | None = None  # runtime/device.py


class Validation(Facts):
    """Errors at one crop during a training, of the raw and of the averaged weights."""

    top1_error_raw: float
    top5_error_raw: float
    top1_error_averaged: float
    top5_error_averaged: float

    def error(self, top: int, weights: Literal["averaged", "raw"]) -> float:
        """Return the top-1 or the top-5 error of one kind of weights."""
        if weights == "raw":
            return self.top1_error_raw if top == 1 else self.top5_error_raw
        return self.top1_error_averaged if top == 1 else self.top5_error_averaged


class Elsewhere(Facts):
    """The facts of an earlier attempt that last bits depend on.

    They are read from the file of the attempt, which holds more.
    """

    model_config = ConfigDict(extra="ignore")

    commit: str | None = None
    code: str | None = None
    python: str | None = None
    versions: dict[str, str] | None = None
    environment: dict[str, str] | None = None
    hardware: dict[str, str] | None = None
    world_size: int | None = None


class RunFacts(MachineFacts):
    """The facts of a complete training; `best_step` is that of its best weights."""

    steps: int
    seconds: float
    attempts: int | None
    core_or_gpu_hours: float
    num_parameters: int
    validation: Validation
    best_step: int
    elsewhere: list[Elsewhere] | None = None  # where earlier attempts ran otherwise


class SealedRun(Sealed, RunFacts):
    """The file run.json."""


class EvaluationFacts(Facts):
    """The facts of an evaluation: its images, its ranks and its device."""

    num_images: int
    world_size: int
    device: str
    num_rejected: int
    notes: list[str] | None = None  # where it differs from what the weights' makers did
    num_parameters: int | None = None  # of the network as it is evaluated
    multiply_adds: int | None = None  # of one crop


class PredictionsFacts(EvaluationFacts):
    """The facts of an evaluation, joined with those of its chunks."""

    bad_images: dict[str, str]
    engines: list[str]
    core_or_gpu_seconds: float
    core_or_gpu_hours: float
    hardware: dict[str, str] | None = None  # runtime/device.py


class SealedPredictions(Sealed, PredictionsFacts):
    """The file predictions.json."""


class SubsetErrors(Facts):
    """The errors of an ensemble of some of the members."""

    members: list[int]
    top1_error: float
    top5_error: float


class Figures(Facts):
    """All errors that a result's hits give, with Wilson's intervals."""

    num_images: int
    subsets: list[SubsetErrors]
    top1_error: float
    top1_interval: Interval
    top1_error_of_members: list[float]
    top5_error: float
    top5_interval: Interval
    top5_error_of_members: list[float]


class ChanceFacts(Facts):
    """The number of hits, beside that of a guesser (statistics/chance.py)."""

    top: int
    hits: int
    images: int
    expected: float
    p_value: float


class ResultFacts(Figures):
    """The facts of one cell of Table 3."""

    policy: str
    num_members: int
    chosen_members: list[int]
    num_classes: int
    classes: list[str]
    chance: list[ChanceFacts] | None = None
    may_be_guessing: bool | None = None


class SealedResult(Sealed, ResultFacts):
    """The file result.json."""


class Guess(Facts):
    """A class that a classifier gives an image, with its probability."""

    label: str
    probability: float


class Mistake(Facts):
    """An image for which a result is wrong, but sure.

    `rank` is where the label ranks; `picture` is a JPEG in base64.
    """

    image_id: str
    label: str
    rank: int
    guesses: list[Guess]
    picture: str


class ReportFacts(Facts):
    """The summary of a report, as the screen shows it."""

    summary: str


class SealedReport(Sealed, ReportFacts):
    """The file report.json."""
