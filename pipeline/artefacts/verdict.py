"""verdicts/<hash>/: what a study says about each claim of the paper."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.artefacts import storage
from pipeline.study import CheckConfig

Decision = Literal["reproduced", "not_reproduced", "inconclusive", "not_run"]


@dataclass(frozen=True)
class Verdict:
    """One claim judged. `measured` is an error, or a difference of errors; `metric` says of which error."""

    claim: str
    text: str
    decision: Decision
    words: str
    metric: str
    published: float | None = None
    tolerance: float | None = None
    measured: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None


def write_verdicts(config: CheckConfig, root: Path, verdicts: list[Verdict]) -> None:
    """Seal the verdicts of a study."""
    storage.seal(config, root, [], {"verdicts": [asdict(verdict) for verdict in verdicts]})


def read_verdicts(config: CheckConfig, root: Path) -> tuple[list[Verdict], dict[str, Any]]:
    """The verdicts and the rest of the sealed file.

    Raises:
        InputError: they are not complete.
    """
    facts = storage.unseal(config, root)
    return [Verdict(**verdict) for verdict in facts["verdicts"]], facts
