"""verdicts/<hash>/: the verdicts of a study on each claim of the paper."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, TypeAdapter

from pipeline.artefacts import sealing
from pipeline.artefacts.check_facts import CheckFacts, NetworkErrors, SealedCheck
from pipeline.configs.study import CheckConfig
from pipeline.runtime import disk

VERDICTS = "verdicts.jsonl"
Decision = Literal["reproduced", "not_reproduced", "inconclusive", "not_run"]


@dataclass(frozen=True)
class Verdict:
    """The verdict on one claim.

    `kind` says whether the numbers are an error or a gain, and `metric` names the
    error. `p_value` is two-sided, and `test` names its test. `p_holm` is that p-value,
    corrected over all claims that are judged by a test. `needed` is a number of seeds
    or images, whichever the test counts: so many would find a difference as large as
    an undecided one in four of five studies.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)

    claim: str
    text: str
    kind: Literal["error", "gain"]
    decision: Decision
    words: str
    metric: str
    published: float | None = None
    tolerance: float | None = None
    measured: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    p_holm: float | None = None
    test: str | None = None
    needed: int | None = None


ROWS = TypeAdapter(list[Verdict])


def write_verdicts(
    config: CheckConfig,
    root: Path,
    verdicts: list[Verdict],
    networks: list[NetworkErrors] | None = None,
) -> None:
    """Write the verdicts of a study, one on each line, and seal them with the errors of
    its networks.
    """
    path = root / config.folder / VERDICTS
    disk.write_atomic(
        path, "".join(json.dumps(asdict(verdict)) + "\n" for verdict in verdicts).encode()
    )
    sealing.CHECK.seal(config, root, [path], CheckFacts(networks=networks))


def read_verdicts(config: CheckConfig, root: Path) -> tuple[list[Verdict], SealedCheck]:
    """Return the verdicts, and the sealed file beside them.

    Raises:
        InputError: the verdicts are not complete, or they are damaged.
    """
    facts = sealing.CHECK.unseal(config, root)
    return sealing.read_rows(sealing.sealed_file(config, root, VERDICTS), ROWS), facts
