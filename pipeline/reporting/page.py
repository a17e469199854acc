"""What the templates of a study's report show."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.artefacts.contents import Mistake, SealedPredictions, SealedRun
from pipeline.artefacts.facts import Provenance
from pipeline.artefacts.verdict import Verdict
from pipeline.configs.evaluate import EvaluateConfig
from pipeline.configs.train import TrainConfig
from pipeline.reporting.ablations import Ablation
from pipeline.reporting.findings import Findings
from pipeline.reporting.rows import Cell
from pipeline.reporting.tables import Row


class Benchmark(NamedTuple):
    """A benchmark in words."""

    what: str
    text: str
    provenance: Provenance


class Tracked(NamedTuple):
    """A run at W&B: its id, and its page; empty where the server did not say."""

    run_id: str
    url: str


@dataclass(frozen=True)
class Page:
    """Everything that the templates of a complete study show, by the names they use.

    `runs` and `evaluations` have the config and the sealed file of each. `tracked` has
    the runs that W&B's server holds, by the hash of the artefact.
    """

    study: str
    title: str
    data: str
    input_size: str
    denominator: str
    num_classes: int
    top: int
    findings: Findings
    verdicts: list[Verdict]
    cells: list[Cell]
    single: str
    tables: dict[str, Sequence[Row]]
    charts: dict[str, str]
    comparisons: list[Ablation]
    captions: dict[str, str]
    shown: Cell
    mistakes: list[Mistake]
    runs: list[tuple[TrainConfig, SealedRun]]
    evaluations: list[tuple[EvaluateConfig, SealedPredictions]]
    tracked: dict[str, Tracked]
    cautions: list[str]
    commands: list[str]
    check_hash: str
    benchmarks: list[Benchmark]
    provenance: Provenance
